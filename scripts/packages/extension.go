package main

import (
	"fmt"
	"path"
	"time"
)

// release is the file by which systemd-sysext knows an extension.
func release(name string) string {
	return "/usr/lib/extension-release.d/extension-release." + name
}

// systemdArch is what systemd calls an architecture of Go's.
var systemdArch = map[string]string{"amd64": "x86-64", "arm64": "arm64"}

// extension writes a package as an extension of the system for systemd-sysext: a folder of its name, for /var/lib/extensions. The
// programs are static, so that it goes with every distribution (ID=_any, systemd 252); newer ones read units anew by themselves.
func (b builder) extension(p pack, tree, file string, when time.Time) error {
	arch, ok := systemdArch[b.arch]
	if !ok {
		return fmt.Errorf("extension for %s: systemd's name of the architecture is not known, expected amd64 or arm64", b.arch)
	}
	about := fmt.Sprintf("ID=_any\nARCHITECTURE=%s\nSYSEXT_SCOPE=system\nEXTENSION_RELOAD_MANAGER=1\n", arch)
	if err := writeFile(path.Join(tree, release(p.name)), []byte(about), public); err != nil {
		return err
	}
	return archive(file, tree, p.name, when)
}
