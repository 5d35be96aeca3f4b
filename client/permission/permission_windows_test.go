package permission

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/windows"
)

// give makes a list in SDDL the file's own. Where the file system does not keep it as it is (FAT; Wine, which makes modes of it), the test
// is skipped.
func give(t *testing.T, path, list string) {
	t.Helper()
	sd, err := windows.SecurityDescriptorFromString(list)
	if err != nil {
		t.Fatal(err)
	}
	dacl, _, err := sd.DACL()
	if err != nil {
		t.Fatal(err)
	}
	err = windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, dacl, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		t.Fatal(err)
	}
	kept, _, err := got.DACL()
	if err != nil || kept.AceCount != dacl.AceCount {
		t.Skipf("%s: the file system keeps %v of the access control list %s (%v)", path, got, list, err)
	}
}

// TestRights holds what each entry of a list means for a file's secrecy and for what is in it.
func TestRights(t *testing.T) {
	who, err := trusted()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		list               string
		private, unchanged bool
	}{
		{"D:P(A;;FA;;;SY)(A;;FA;;;BA)", true, true},
		{"D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;OW)", true, true},
		{"D:P", true, true}, // nobody but by the rights of a backup
		{"D:P(A;;FA;;;SY)(A;;FR;;;BU)", false, true},
		{"D:P(A;;FA;;;SY)(A;;GR;;;WD)", false, true},
		{"D:P(A;;FA;;;SY)(A;;FX;;;BU)", true, true},
		{"D:P(A;;FA;;;SY)(A;;0x2;;;BU)", false, false},
		{"D:P(A;;FA;;;SY)(A;;0x4;;;AU)", false, false},
		{"D:P(A;;FA;;;SY)(A;;SD;;;BU)", false, false},
		{"D:P(A;;FA;;;SY)(A;;WD;;;BU)", false, false},
		{"D:P(A;;FA;;;SY)(A;;WO;;;BU)", false, false},
		{"D:P(A;;FA;;;SY)(A;;GA;;;BU)", false, false},
		{"D:P(A;OICIIO;FA;;;BU)", true, true}, // for what is made below
		{"D:P(D;;FA;;;BU)(A;;FA;;;SY)", true, true},
		{"", false, false}, // without a list everybody may do everything
	} {
		sd, err := windows.NewSecurityDescriptor()
		if err == nil && tc.list == "" {
			err = sd.SetDACL(nil, true, false)
		} else if err == nil {
			sd, err = windows.SecurityDescriptorFromString(tc.list)
		}
		if err != nil {
			t.Fatalf("%q: %v", tc.list, err)
		}
		if err := refused("f", sd, toRead|toChange, who); (err == nil) != tc.private || err != nil && !errors.Is(err, ErrOthers) {
			t.Errorf("%s: private: %v", tc.list, err)
		}
		if err := refused("f", sd, toChange, who); (err == nil) != tc.unchanged || err != nil && !errors.Is(err, ErrOthers) {
			t.Errorf("%s: unchangeable: %v", tc.list, err)
		}
	}
}

// TestProtect holds that a file that others may read is found, and that Protect takes their rights away.
func TestProtect(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	give(t, path, "D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;OW)(A;;FR;;;WD)")
	if err := Private(f); !errors.Is(err, ErrOthers) {
		t.Errorf("a file that everybody may read: %v", err)
	}
	if err := errors.Join(Protect(f), Private(f)); err != nil {
		t.Error(err)
	}
}

// TestUnchangeable holds that a file counts by its own list and by those of the directories above it.
func TestUnchangeable(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "program.exe")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	give(t, dir, "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;OW)")
	give(t, path, "D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;OW)")
	if err := Unchangeable(path); err != nil {
		t.Skipf("a file of one's own below %s: %v", os.TempDir(), err)
	}
	give(t, path, "D:P(A;;FA;;;SY)(A;;FA;;;OW)(A;;FA;;;WD)")
	if err := Unchangeable(path); !errors.Is(err, ErrOthers) {
		t.Errorf("a file that everybody may change: %v", err)
	}
	give(t, path, "D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;OW)")
	give(t, dir, "D:P(A;OICI;FA;;;SY)(A;;FA;;;OW)(A;;FA;;;WD)")
	if err := Unchangeable(path); !errors.Is(err, ErrOthers) {
		t.Errorf("a directory that everybody may change: %v", err)
	}
}
