package strongswan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"mipvpn/client/config/draft"
)

// Errors about what cannot be taken over at all.
var (
	// ErrFormat is wrapped by errors about a file that is neither of the two formats.
	ErrFormat = errors.New("not a profile of strongSwan's")
	// ErrConnection is wrapped where it has to be said which connection is meant, or where there is none of that name.
	ErrConnection = errors.New("no such connection")
	// ErrUnsupported is wrapped where a connection needs what mipvpn has not got.
	ErrUnsupported = errors.New("not supported")
)

// The names of the files beside the configuration.
const (
	authorityFile   = "company-ca.pem"
	certificateFile = "laptop.pem"
	bundleFile      = "laptop.p12"
	privateKeyFile  = "laptop.key"
	pinFile         = "laptop.pin"
	pskFile         = "gateway.psk"
	ppkFile         = "gateway.ppk"
	passwordFile    = "eap.password"
)

// maxFile is the greatest length of one file in octets.
const maxFile = 1 << 20

// Remark is about something that was not carried over, or not as it stood.
type Remark struct {
	// Where is the key, such as "connections.home.proposals" or "local.rsa-pss".
	Where string
	// Message says why, and what to do about it if anything.
	Message string
}

// Result is what was taken over.
type Result struct {
	// Name is the name of the connection or profile.
	Name string
	// Draft has the keys and files.
	Draft *draft.Draft
	// Remarks are about the rest, in the order of the original.
	Remarks []Remark
}

// remark adds a remark.
func (r *Result) remark(where, format string, values ...any) {
	r.Remarks = append(r.Remarks, Remark{where, fmt.Sprintf(format, values...)})
}

// set sets a key of the draft; a value that it cannot have becomes a remark.
func (r *Result) set(where, key string, value any) {
	if err := r.Draft.Set(key, value); err != nil {
		r.remark(where, "not carried over: %v", err)
	}
}

// Read takes over the profile or connection in a file: a .sswan when it begins like a JSON document, else a swanctl.conf. The connection is the
// one of that name; with an empty name there must be just one. Errors wrap ErrFormat, ErrConnection, ErrUnsupported, or those of
// the file system.
func Read(path, connection string) (*Result, error) {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("strongswan: %w", err)
	}
	defer root.Close()
	name := filepath.Base(path)
	data, err := readFile(root.FS(), name)
	if err != nil {
		return nil, fmt.Errorf("strongswan: %s: %w", path, err)
	}
	defer clear(data)
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return ParseProfile(data)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("strongswan: %w", err)
	}
	return ParseSwanctl(root.FS(), filepath.ToSlash(dir), name, connection)
}

// readFile reads a regular file of at most maxFile octets.
func readFile(system fs.FS, name string) ([]byte, error) {
	f, err := system.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is longer than %d octets", name, maxFile)
	}
	return data, err
}
