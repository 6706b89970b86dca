#!/usr/bin/env bash
# Installs the backup programs that the vault is compared with into FOLDER/bin:
#
#   peers.sh FOLDER
#
#   restic   content-defined chunks, zstd                                     its Go module
#   kopia    large chunks, and by its configuration the fastest zstd          its Go module
#   borg     one thread; can be tuned to small chunks, as databases need      Debian's package
#   rustic   the format of restic, in Rust                                    its crate
#   zstd     to look at how well the data compresses                          Debian's package
#
# Versions are pinned, but Debian's are what the machine's release has, and go to the system. What is there in
# the right version is left alone, so a second run needs no network and takes no time; the first takes about
# half an hour on two slow cores, nearly all of it rustic. Outside of FOLDER only the caches of Go and cargo
# grow, and what rustic is built in is deleted.
#
# It does not measure (peers.py does), does not make data (data.py does), and does not install what it needs:
# Go 1.25, Rust 1.91 and a C compiler, or newer, and for Debian's packages apt-get and root.
set -euo pipefail
shopt -s inherit_errexit

readonly RESTIC_VERSION=0.18.1 KOPIA_VERSION=0.22.3 RUSTIC_VERSION=0.11.4

if [[ $# -ne 1 || $1 == -* ]]; then
  echo "usage: $0 FOLDER" >&2
  exit 2
fi
mkdir -p "$1/bin"
folder=$(cd "$1" && pwd)
readonly folder bin=$folder/bin

# Without cgo they need no C compiler; another toolchain than the machine's is not fetched.
export CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off GOBIN=$bin

have() { command -v "$1" >/dev/null; }
# Whether the program in FOLDER/bin says this version: `is_version VERSION PROGRAM ARGUMENT`.
is_version() { [[ -x $bin/$2 && " $("$bin/$2" "$3" 2>&1 | head -n 1 | tr -d v) " == *" $1 "* ]]; }
need() { have "$1" || { echo "$0: $1 is missing: install it first" >&2; exit 1; }; }

install_restic() {
  if is_version "$RESTIC_VERSION" restic version; then return; fi
  need go
  go install "github.com/restic/restic/cmd/restic@v$RESTIC_VERSION"
}

# In a module of its own, which asks for this version alone: `go install` also asks what other versions there
# are, and for kopia not every module proxy answers that. What is built is the same.
install_kopia() {
  if is_version "$KOPIA_VERSION" kopia --version; then return; fi
  need go
  local module=$folder/kopia-module
  rm -rf "$module"
  mkdir "$module"
  (
    cd "$module"
    go mod init kopia.invalid
    go mod edit -require="github.com/kopia/kopia@v$KOPIA_VERSION"
    go build -mod=mod -o "$bin/kopia" github.com/kopia/kopia
  )
  rm -rf "$module"
}

install_rustic() {
  if is_version "$RUSTIC_VERSION" rustic --version; then return; fi
  need cargo
  CARGO_TARGET_DIR=$folder/rustic-target \
    cargo install rustic-rs --locked --version "$RUSTIC_VERSION" --root "$folder"
  rm -rf "$folder/rustic-target"
}

# Debian's package $1, which brings the program $2.
install_debian() {
  if have "$2"; then return; fi
  need apt-get
  apt-get -qq update
  apt-get -qq install --yes --no-install-recommends "$1"
}

install_restic
install_kopia
install_debian borgbackup borg
install_debian zstd zstd
install_rustic

"$bin/restic" version
echo "kopia $("$bin/kopia" --version)"
borg --version
"$bin/rustic" --version
zstd --version
