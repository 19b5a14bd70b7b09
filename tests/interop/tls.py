"""Clients that others wrote, over TLS: with certificates and with pre-shared keys."""

import json

from cases import case
from certificates import certificates, client_folder, shared_key

MIB = 1 << 20
SIZE = 8 * MIB


def secure_uri(server, options, user=""):
    return f"nbds+unix://{user}/?socket={server.path}&{options}"


def with_certificates(test):
    folder = certificates(test)
    server = test.serve(test.filled_image(SIZE), tls="require", certificates=folder)
    return server, secure_uri(server, f"tls-certificates={client_folder(test, 'alice')}"
                                      "&tls-verify-peer=false")


@case
def nbdinfo_sees_that_tls_protects_the_export(test):
    server, uri = with_certificates(test)
    told = json.loads(test.run("nbdinfo", "--json", uri))
    assert told["TLS"] is True and told["exports"][0]["export-size"] == SIZE, told
    test.run("nbdinfo", "--size", server.uri, status=1)


@case
def nbdcopy_copies_over_tls_in_both_directions(test):
    server, uri = with_certificates(test)
    test.run("nbdcopy", uri, "copy.img")
    test.run("cmp", server.image, "copy.img")
    source = test.image(SIZE, "zeroes.img")
    test.run("nbdcopy", "--flush", source, uri)
    test.run("cmp", source, server.image)


@case
def nbdcopy_copies_with_a_shared_key(test):
    keys = shared_key(test)
    server = test.serve(test.filled_image(SIZE), tls="require", psk=keys)
    test.run("nbdcopy", secure_uri(server, f"tls-psk-file={keys}", "alice@"), "copy.img")
    test.run("cmp", server.image, "copy.img")


@case
def a_wrong_shared_key_is_refused(test):
    keys = shared_key(test)
    server = test.serve(test.filled_image(SIZE), tls="require", psk=keys)
    wrong = test.folder / "wrong.psk"
    wrong.write_text(f"alice:{'42' * 32}\n", encoding="ascii")
    test.run("nbdinfo", "--size", secure_uri(server, f"tls-psk-file={wrong}", "alice@"), status=1)
    test.run("nbdinfo", "--size", secure_uri(server, f"tls-psk-file={keys}", "alice@"))


@case
def qemu_img_compares_over_tls(test):
    server, _ = with_certificates(test)
    client = client_folder(test, "bob")
    test.run("cp", server.image, "same.img")  # the image itself is locked, and qemu heeds that
    test.run("qemu-img", "compare", "--object",
             f"tls-creds-x509,id=tls0,endpoint=client,dir={client},verify-peer=off", "--image-opts",
             f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={server.path},"
             "file.tls-creds=tls0,file.tls-hostname=localhost",
             "driver=raw,file.driver=file,file.filename=same.img")
