"""Certificates and keys for a server with TLS and its clients, made with gnutls' own tools."""

from cases import need


def certificates(test):
    """Two authorities; a server's certificate, and clients called alice and bob; mallory is in
    truth another alice, of the other authority."""
    need("certtool")
    for authority in ("ours", "theirs"):
        make_certificate(test, authority, authority, f"cn={authority}\nca\ncert_signing_key\n")
    make_certificate(test, "server", "ours", "cn=localhost\ndns_name=localhost\ntls_www_server\n")
    for file, name, authority in (("alice", "alice", "ours"), ("bob", "bob", "ours"),
                                  ("mallory", "alice", "theirs")):
        make_certificate(test, file, authority, f"cn={name}\ntls_www_client\n")
    folder = test.folder / "certificates"
    folder.mkdir()
    for source, target in (("ours.pem", "ca-cert.pem"), ("server.pem", "server-cert.pem"),
                           ("server.key", "server-key.pem")):
        (folder / target).write_bytes((test.folder / source).read_bytes())
        (folder / target).chmod(0o600)
    return folder


def make_certificate(test, name, authority, template):
    (test.folder / f"{name}.info").write_text(
        f"{template}expiration_days=2\nsigning_key\nencryption_key\n", encoding="ascii")
    test.run("certtool", "--generate-privkey", "--ecc", "--outfile", f"{name}.key")
    sign = ["--generate-self-signed"] if name == authority else [
        "--generate-certificate", "--load-ca-certificate", f"{authority}.pem",
        "--load-ca-privkey", f"{authority}.key"]
    test.run("certtool", *sign, "--load-privkey", f"{name}.key", "--template", f"{name}.info",
             "--outfile", f"{name}.pem")


def client_folder(test, name):
    """As libnbd wants it: the authority, the client's certificate and its key in one folder."""
    folder = test.folder / name
    folder.mkdir()
    for source, target in (("ours.pem", "ca-cert.pem"), (f"{name}.pem", "client-cert.pem"),
                           (f"{name}.key", "client-key.pem")):
        (folder / target).write_bytes((test.folder / source).read_bytes())
    return folder


def shared_key(test, name="alice"):
    """A file of pre-shared keys with one user in it."""
    need("psktool")
    path = test.folder / "keys.psk"
    test.run("psktool", "--username", name, "--pskfile", path)
    return path
