// Command packages is what `make packages` runs: it makes the .deb and .rpm packages, extensions for systemd-sysext, and archives of static
// binaries, in dist/.
//
// Purpose: for each architecture the three programs are built without cgo, their manual pages and completions written by themselves and
// from docs, and three packages made of that: mipvpn for laptops, mipagent for the company's side, and miplab to try it all on one
// machine. Each is laid out in a folder first, the tree that a machine gets; what ends up in the .deb is compared with it, and the extension
// is that tree. The same source makes the same octets: all files are of the time of the last change (or SOURCE_DATE_EPOCH).
//
// Specification: the Filesystem Hierarchy Standard, what systemd's units, sysusers.d, tmpfiles.d and presets expect, systemd-sysext(8), and
// Debian's and rpm's rules for scripts. Packages hold nothing outside /usr, so that systems whose /usr is an image can have them;
// what a person owns is made by tmpfiles.d and never overwritten. Left out: images in squashfs or erofs (a folder does), signatures.
//
// Concurrency: one goroutine.
//
// Ownership: dist/ is replaced.
package main
