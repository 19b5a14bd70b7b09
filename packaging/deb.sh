#!/usr/bin/env bash
# Makes the Debian package of what was built:
#   packaging/deb.sh [BUILD] [OUT]    from build/release into build/deb; prints the package's path
# Needs no debhelper, and no root.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${1:-build/release}
out=${2:-build/deb}
from=packaging/debian
for tool in cmake dpkg-deb dpkg-shlibdeps; do
    command -v $tool >/dev/null || {
        echo "ringloop: $tool is missing; make deps installs it" >&2
        exit 1
    }
done
[[ -x $build/ringloop ]] || {
    echo "ringloop: no $build/ringloop; build it with make" >&2
    exit 1
}

version=$("$build/ringloop" --version | sed 's/^ringloop //')-1
architecture=$(dpkg --print-architecture)
root=$out/root
rm -rf "$root"
mkdir -p "$root/DEBIAN" "$root/etc/ringloop"
# The same package from the same commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
umask 022

DESTDIR=$(realpath "$root") cmake --install "$build" --prefix /usr >/dev/null
# Debian 12 looks for these here; with a merged /usr it is the same place.
mkdir -p "$root/lib"
mv "$root/usr/lib/systemd" "$root/usr/lib/udev" "$root/lib/"
rmdir "$root/usr/lib"
mkdir -p "$root/usr/share/zsh/vendor-completions"
mv "$root/usr/share/zsh/site-functions/_ringloop" "$root/usr/share/zsh/vendor-completions/"
rmdir "$root/usr/share/zsh/site-functions"

strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root/usr/bin/ringloop"
find "$root/usr/share/man" -type f -exec gzip -9n {} +

fill() { # TEMPLATE TARGET NAME=VALUE...
    local text pair
    text=$(<"$1")
    for pair in "${@:3}"; do text=${text//"@${pair%%=*}@"/"${pair#*=}"}; done
    printf '%s\n' "$text" >"$2"
}

docs=$root/usr/share/doc/ringloop
rm "$docs/LICENSE"
mv "$docs/CHANGELOG.md" "$docs/changelog"
fill $from/changelog "$docs/changelog.Debian" "VERSION=$version" \
    "DATE=$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
gzip -9n "$docs/changelog" "$docs/changelog.Debian"
fill $from/copyright "$docs/copyright" \
    "COPYRIGHT=$(sed -n 's/^Copyright (c) //p' LICENSE)" \
    "LICENSE=$(sed -e '1,/^Copyright/d' LICENSE | sed -e '1{/^$/d}' -e 's/^$/./' -e 's/^/ /')"
install -D -m 644 $from/disk.conf "$docs/examples/disk.conf"

# dpkg-shlibdeps reads a source package's control file, of which it needs that it is there.
mkdir -p "$out/source/debian"
: >"$out/source/debian/control"
program=$(realpath "$root/usr/bin/ringloop")
depends=$(cd "$out/source" && dpkg-shlibdeps -O "$program" | sed -n 's/^shlibs:Depends=//p')
fill $from/control "$root/DEBIAN/control" "VERSION=$version" "ARCHITECTURE=$architecture" \
    "DEPENDS=$depends" "INSTALLED_SIZE=$(du -k -s --exclude=DEBIAN "$root" | cut -f1)"
install -m 755 $from/postinst $from/prerm $from/postrm "$root/DEBIAN/"
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z |
    xargs -0 md5sum >DEBIAN/md5sums)
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

package=$out/ringloop_${version}_$architecture.deb
dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >/dev/null
echo "$package"
