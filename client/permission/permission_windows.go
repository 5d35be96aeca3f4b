package permission

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Rights of a file and of a directory (winnt.h).
const (
	readData    = 0x1  // of a directory: list it
	writeData   = 0x2  // of a directory: add a file
	appendData  = 0x4  // of a directory: add a directory
	deleteChild = 0x40 // of a directory

	// toRead lets somebody read a file, and toChange change it or what is in it; both with the rights to give oneself these.
	toRead   = readData | windows.GENERIC_READ | windows.GENERIC_ALL | toOwn
	toChange = writeData | appendData | deleteChild | windows.DELETE | windows.GENERIC_WRITE | windows.GENERIC_ALL | toOwn
	// toReplace lets somebody put another entry in the place of one of a directory's.
	toReplace = deleteChild | windows.DELETE | windows.GENERIC_ALL | toOwn
	toOwn     = windows.WRITE_DAC | windows.WRITE_OWNER
)

// Kinds of entries that allow something and have the layout of ACCESS_ALLOWED_ACE (winnt.h).
const allowedCallback = 9

// trustedInstaller is the service that the system's own files belong to.
const trustedInstaller = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"

// Private returns nil where the owner of the open file, the system and administrators alone may read or write it. The error wraps
// ErrOthers otherwise.
func Private(f *os.File) error {
	sd, err := windows.GetSecurityInfo(windows.Handle(f.Fd()), windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return fmt.Errorf("read the access control list of %s: %w", f.Name(), err)
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return fmt.Errorf("read the owner of %s: %w", f.Name(), err)
	}
	who, err := trusted()
	if err == nil {
		err = refused(f.Name(), sd, toRead|toChange, append(who, owner))
	}
	return err
}

// Unchangeable returns nil where nobody but the system, administrators and this process's user can change the file or directory, or put
// another one in its place through a directory above it, or through one that a link on the way lies in. The error wraps ErrOthers
// otherwise.
func Unchangeable(path string) error {
	written, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if path, err = filepath.EvalSymlinks(written); err != nil {
		return err
	}
	// Windows' names do not tell capitals apart; what EvalSymlinks only spells otherwise is no link.
	if above := filepath.Dir(written); !strings.EqualFold(path, written) && above != written {
		if err := Unchangeable(above); err != nil {
			return err
		}
	}
	who, err := trusted()
	if err != nil {
		return err
	}
	mask := windows.ACCESS_MASK(toChange)
	for at := path; ; at = filepath.Dir(at) {
		sd, err := windows.GetNamedSecurityInfo(at, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
		if err != nil {
			return fmt.Errorf("read the access control list of %s: %w", at, err)
		}
		owner, _, err := sd.Owner()
		if err != nil {
			return fmt.Errorf("read the owner of %s: %w", at, err)
		}
		if !among(owner, who) {
			return fmt.Errorf("%w: %s belongs to %s, expected administrators (icacls \"%s\" /setowner *S-1-5-32-544 mends it)", ErrOthers, at, name(owner), at)
		}
		if err := refused(at, sd, mask, who); err != nil {
			return err
		}
		if at == filepath.Dir(at) {
			return nil
		}
		mask = toReplace
	}
}

// Protect has nobody but its owner, the system and administrators read or write the open file, whatever its directory's entries would
// have it inherit.
func Protect(f *os.File) error {
	sd, err := windows.SecurityDescriptorFromString("D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;OW)")
	if err != nil {
		return err
	}
	list, _, err := sd.DACL()
	if err != nil {
		return err
	}
	err = windows.SetNamedSecurityInfo(f.Name(), windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, list, nil)
	if err != nil {
		return fmt.Errorf("write the access control list of %s: %w", f.Name(), err)
	}
	return nil
}

// refused returns an error that wraps ErrOthers where the list of sd gives somebody who is not among those trusted one of the rights.
func refused(path string, sd *windows.SECURITY_DESCRIPTOR, rights windows.ACCESS_MASK, who []*windows.SID) error {
	list, _, err := sd.DACL()
	if err != nil || list == nil { // without a list everybody may do everything
		return fmt.Errorf("%w: %s has no access control list (%s mends it)", ErrOthers, path, remedy(path))
	}
	for i := range uint32(list.AceCount) {
		var e *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(list, i, &e); err != nil {
			return fmt.Errorf("read the access control list of %s: %w", path, err)
		}
		if e.Header.AceFlags&windows.INHERIT_ONLY_ACE != 0 {
			continue // for what is made below, which has it in a list of its own
		}
		switch e.Header.AceType {
		case windows.ACCESS_DENIED_ACE_TYPE:
		case windows.ACCESS_ALLOWED_ACE_TYPE, allowedCallback:
			if by := (*windows.SID)(unsafe.Pointer(&e.SidStart)); e.Mask&rights != 0 && !among(by, who) {
				return fmt.Errorf("%w: %s is open to %s (%s mends it)", ErrOthers, path, name(by), remedy(path))
			}
		default:
			return fmt.Errorf("%w: the access control list of %s has an entry of kind %d, which is not understood (%s mends it)", ErrOthers, path, e.Header.AceType, remedy(path))
		}
	}
	return nil
}

// remedy is the command that leaves a file or directory to administrators.
func remedy(path string) string {
	return `icacls "` + path + `" /inheritance:r /grant:r *S-1-5-18:F *S-1-5-32-544:F`
}

// trusted returns who may do everything anyway: the system, administrators, its installer, the owner's rights by that name, and this
// process's user.
func trusted() ([]*windows.SID, error) {
	var who []*windows.SID
	for _, kind := range []windows.WELL_KNOWN_SID_TYPE{windows.WinLocalSystemSid, windows.WinBuiltinAdministratorsSid, windows.WinCreatorOwnerRightsSid} {
		s, err := windows.CreateWellKnownSid(kind)
		if err != nil {
			return nil, fmt.Errorf("name who administers this machine: %w", err)
		}
		who = append(who, s)
	}
	installer, err := windows.StringToSid(trustedInstaller)
	if err != nil {
		return nil, fmt.Errorf("name who administers this machine: %w", err)
	}
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, fmt.Errorf("name this process's user: %w", err)
	}
	return append(who, installer, user.User.Sid), nil
}

func among(s *windows.SID, who []*windows.SID) bool {
	for _, w := range who {
		if s != nil && s.Equals(w) {
			return true
		}
	}
	return false
}

// name is a user or group for people.
func name(s *windows.SID) string {
	if s == nil {
		return "nobody"
	}
	if account, domain, _, err := s.LookupAccount(""); err == nil {
		return domain + `\` + account
	}
	return s.String()
}
