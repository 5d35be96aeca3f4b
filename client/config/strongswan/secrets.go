package strongswan

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"mipvpn/client/config"
	"mipvpn/client/config/draft"
	"mipvpn/ipsec/pki"
)

// The folders in which swanctl looks for what has no absolute path.
var (
	certificateFolder = "x509"
	authorityFolder   = "x509ca"
	keyFolders        = []string{"private", "rsa", "ecdsa", "pkcs8"}
	bundleFolder      = "pkcs12"
)

// given is a file that swanctl.conf names, or that is in one of the folders.
type given struct {
	name string
	data []byte
	// secret is the password of what is in it.
	secret string
}

// open reads a file that a key names; what is not there, or outside, becomes a remark.
func (s *swanctl) open(where, folder, name string) (given, bool) {
	at, ok := s.within(folder, name)
	if !ok {
		s.remark(where, "%s is not read, because it is out of %s: put it below that", name, s.dir)
		return given{}, false
	}
	data, err := readFile(s.system, at)
	if err != nil {
		s.remark(where, "%s cannot be read: %v", name, err)
		return given{}, false
	}
	return given{name: at, data: data}, true
}

// all reads the files of a folder, none where there is no such.
func (s *swanctl) all(folder string) []given {
	entries, err := fs.ReadDir(s.system, folder)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.remark(folder, "cannot be read: %v", err)
		}
		return nil
	}
	var found []given
	for _, e := range entries {
		if len(found) == maxFiles {
			s.remark(folder, "only the first %d files are looked at", maxFiles)
			break
		}
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if g, ok := s.open(folder, folder, e.Name()); ok {
			found = append(found, g)
		}
	}
	return found
}

// authorities takes the certification authorities of the gateway: those that are named, else all that there are.
func (s *swanctl) authorities(r *section, at string) {
	var found []given
	for _, name := range fields(r.text("cacerts")) {
		if g, ok := s.open(at+".cacerts", authorityFolder, name); ok {
			found = append(found, g)
		}
	}
	for _, c := range r.beginning("cacert") {
		if name, ok := c.value("file"); ok {
			if g, ok := s.open(at+"."+c.name+".file", authorityFolder, name); ok {
				found = append(found, g)
			}
		}
		s.unused(at+"."+c.name, c, nil)
	}
	if len(found) == 0 {
		found = s.all(authorityFolder)
	}
	var text []byte
	for _, g := range found {
		certs, err := pki.ParseCertificates(g.data)
		if err != nil {
			s.remark(at+".cacerts", "%s is not carried over: %v", g.name, err)
			continue
		}
		for _, c := range certs {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
		}
	}
	if len(text) > 0 {
		s.Draft.Add(draft.File{Name: authorityFile, Data: text})
		s.set(at+".cacerts", "trust.anchors", []string{authorityFile})
	}
}

// certificate takes the laptop's certificate with its private key.
func (s *swanctl) certificate(l *section) {
	at := s.where + "." + l.name
	var found []given
	for _, name := range fields(l.text("certs")) {
		if g, ok := s.open(at+".certs", certificateFolder, name); ok {
			found = append(found, g)
		}
	}
	for _, c := range l.beginning("cert") {
		if name, ok := c.value("file"); ok {
			if g, ok := s.open(at+"."+c.name+".file", certificateFolder, name); ok {
				found = append(found, g)
			}
		}
		const beside = "not carried over: a certificate on a token is found beside its key (authentication.key)"
		s.unused(at+"."+c.name, c, map[string]string{"handle": beside, "slot": beside, "module": beside})
	}
	if len(found) == 0 {
		switch {
		case !s.token(at):
			s.bundle(at)
		case s.Draft.Has("authentication.key"):
			s.remark(at+".certs", "there is none: set authentication.certificate")
		}
		return
	}
	if len(found) > 1 {
		s.remark(at+".certs", "only %s is carried over: the laptop has one certificate", found[0].name)
	}
	certs, err := pki.ParseCertificates(found[0].data)
	if err != nil {
		s.remark(at+".certs", "%s is not carried over: %v", found[0].name, err)
		return
	}
	var text []byte
	for _, c := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	s.Draft.Add(draft.File{Name: certificateFile, Data: text})
	s.set(at+".certs", "authentication.certificate", certificateFile)
	if !s.Draft.Has("gateway.local_identity") {
		if name := alternative(certs[0]); name != "" {
			s.set(at+".certs", "gateway.local_identity", name)
		}
	}
	s.privateKey(at, certs[0])
}

// alternative returns an alternative name of a certificate that can be an identity, empty for none.
func alternative(c *x509.Certificate) string {
	for _, names := range [][]string{c.EmailAddresses, c.DNSNames} {
		if len(names) > 0 {
			return names[0]
		}
	}
	for _, a := range c.IPAddresses {
		if a.To4() != nil {
			return a.String()
		}
	}
	return ""
}

// privateKey takes the private key of a certificate: of the keys that are there the one that fits it, else the only one.
func (s *swanctl) privateKey(at string, c *x509.Certificate) {
	passwords := map[string]string{}
	for _, p := range s.secrets.beginning("private", "rsa", "ecdsa", "pkcs8") {
		for _, folder := range keyFolders {
			if name, ok := s.within(folder, p.text("file")); ok {
				passwords[name] = p.text("secret")
			}
		}
	}
	var keys []given
	for _, folder := range keyFolders {
		for _, g := range s.all(folder) {
			g.secret = passwords[g.name]
			keys = append(keys, g)
		}
	}
	for i, g := range keys {
		if public, ok := publicOf(g.data); ok && public.Equal(c.PublicKey) {
			keys = []given{keys[i]}
			break
		}
	}
	if len(keys) != 1 && s.token(at) {
		return
	}
	if len(keys) != 1 {
		s.remark(at+".certs", "of %d private keys none is known to be that of the certificate: set authentication.key", len(keys))
		return
	}
	key := keys[0]
	if b, _ := pem.Decode(key.data); b == nil { // DER
		key.data = pem.EncodeToMemory(&pem.Block{Type: derType(key.data), Bytes: key.data})
	}
	s.Draft.Add(draft.File{Name: privateKeyFile, Data: key.data, Secret: true})
	s.set(at+".certs", "authentication.key", privateKeyFile)
	s.pin(at+".certs", key.secret)
}

// token takes a private key in a token or a TPM, and reports whether there is one. A key in a TPM has a handle that is persistent
// (TPM 2.0 Library, part 2, 7.4: it begins with 81) and neither a slot nor a module.
func (s *swanctl) token(at string) bool {
	tokens := s.secrets.beginning("token")
	for _, t := range tokens {
		where := "secrets." + t.name
		handle := strings.ToLower(strings.TrimPrefix(t.text("handle"), "0x"))
		id, err := hex.DecodeString(handle)
		slot, module := t.text("slot"), t.text("module")
		switch {
		case len(tokens) > 1 || err != nil || len(id) == 0:
			s.remark(where, "not carried over: which key it is cannot be told: set authentication.key and authentication.pin")
			continue
		case len(id) == 4 && id[0] == 0x81 && slot == "" && module == "":
			s.set(where, "authentication.key", "tpm2:0x"+handle)
		default:
			uri := "pkcs11:id="
			for _, b := range id {
				uri += fmt.Sprintf("%%%02X", b)
			}
			if slot != "" {
				uri += ";slot-id=" + slot
			}
			s.remark(where, "not carried over, because the file of the PKCS#11 library is not known: set authentication.key = %q with the path of the module %q", uri+"?module-path=...", module)
		}
		s.pin(where, t.text("pin"))
	}
	return len(tokens) > 0
}

// derType returns the type of PEM block that a private key in DER is for.
func derType(der []byte) string {
	if _, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return "RSA PRIVATE KEY"
	}
	if _, err := x509.ParseECPrivateKey(der); err == nil {
		return "EC PRIVATE KEY"
	}
	return "PRIVATE KEY"
}

// publicOf returns the public key of a private key that is not encrypted.
func publicOf(data []byte) (interface{ Equal(crypto.PublicKey) bool }, bool) {
	if b, _ := pem.Decode(data); b != nil {
		data = b.Bytes
	}
	var private any
	if k, err := x509.ParsePKCS8PrivateKey(data); err == nil {
		private = k
	} else if k, err := x509.ParsePKCS1PrivateKey(data); err == nil {
		private = k
	} else if k, err := x509.ParseECPrivateKey(data); err == nil {
		private = k
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, false
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	return public, ok
}

// bundle takes a certificate and its key from a PKCS#12 file.
func (s *swanctl) bundle(at string) {
	bundles := s.all(bundleFolder)
	for _, p := range s.secrets.beginning("pkcs12") {
		name, ok := s.within(bundleFolder, p.text("file"))
		if i := slices.IndexFunc(bundles, func(g given) bool { return g.name == name }); ok && i >= 0 {
			bundles[i].secret = p.text("secret")
		}
	}
	if len(bundles) != 1 {
		s.remark(at+".certs", "there is none, and %d files in %s: set authentication.certificate and authentication.key", len(bundles), bundleFolder)
		return
	}
	s.Draft.Add(draft.File{Name: bundleFile, Data: bundles[0].data, Secret: true})
	s.set(at, "authentication.certificate", bundleFile)
	s.pin(at, bundles[0].secret)
}

// pin takes the password of a private key.
func (s *swanctl) pin(at, secret string) {
	if secret == "" {
		return
	}
	s.Draft.Add(draft.File{Name: pinFile, Data: decoded(secret), Secret: true})
	s.set(at, "authentication.pin", config.SourceFile+pinFile)
}

// gatherSecrets takes the shared secrets that the connection needs, and names those that could not be told apart.
func (s *swanctl) gatherSecrets() {
	local, remote := s.Draft.Text("gateway.local_identity"), s.Draft.Text("gateway.remote_identity")
	rounds := s.Draft.Texts("authentication.rounds")
	if len(rounds) == 0 || slices.Contains(s.Draft.Texts("authentication.gateway"), string(config.GatewayPSK)) {
		s.secret("ike", pskFile, "gateway.psk_file", pskFile, true, local, remote)
	}
	if slices.Contains(rounds, string(config.RoundMSCHAPv2)) || slices.Contains(rounds, string(config.RoundTTLS)) {
		user := s.Draft.Text("authentication.user")
		if user == "" {
			user = local
		}
		s.secret("eap", passwordFile, "authentication.password", config.SourceFile+passwordFile, false, user)
		for _, t := range s.secrets.beginning("ntlm") {
			s.remark("secrets."+t.name, "not carried over: it is the hash of a password, and the client takes the password (authentication.password)")
		}
	}
	if id := s.Draft.Text("gateway.ppk_id"); id != "" {
		s.secret("ppk", ppkFile, "gateway.ppk_file", ppkFile, true, id)
	}
}

// secret takes the one secret of a kind that is for one of the identities: that with most of them, else the only one without any.
func (s *swanctl) secret(kind, file, key, value string, binary bool, identities ...string) {
	kinds := []string{kind}
	if kind == "eap" {
		kinds = append(kinds, "xauth") // the same by another name
	}
	best, most, several := (*section)(nil), -1, false
	for _, c := range s.secrets.beginning(kinds...) {
		score, ids := 0, 0
		for _, t := range c.settings {
			if !strings.HasPrefix(t.key, "id") {
				continue
			}
			ids++
			if id, _ := identity(t.value); slices.Contains(identities, id) {
				score++
			}
		}
		switch {
		case ids > 0 && score == 0:
		case score > most:
			best, most, several = c, score, false
		case score == most:
			several = true
		}
	}
	switch {
	case best == nil && kind == "eap":
		s.remark("secrets", "there is no password: it is asked for (authentication.password)")
		return
	case best == nil:
		s.remark("secrets", "there is none for %s", key)
		return
	case several:
		s.remark("secrets."+best.name, "not carried over, because several are for these identities: set %s", key)
		return
	}
	data := decoded(best.text("secret"))
	if len(data) == 0 {
		s.remark("secrets."+best.name, "it has no secret that can be read")
		return
	}
	if binary && !plain(data) {
		data = append(hex.AppendEncode([]byte("0x"), data), '\n')
	}
	s.Draft.Add(draft.File{Name: file, Data: data, Secret: true})
	s.set("secrets."+best.name, key, value)
}

// decoded returns the octets of a secret: behind 0s in base64, behind 0x in hexadecimal digits, else as it is.
func decoded(secret string) []byte {
	if text, ok := strings.CutPrefix(secret, "0s"); ok {
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			data, _ = base64.RawStdEncoding.DecodeString(text)
		}
		return data
	}
	if digits, ok := strings.CutPrefix(secret, "0x"); ok {
		data, err := hex.DecodeString(digits)
		if err != nil {
			return nil
		}
		return data
	}
	return []byte(secret)
}

// plain reports whether a pre-shared key can stand in a file as it is: it is text of one line that does not begin like another notation.
func plain(data []byte) bool {
	return !bytes.ContainsFunc(data, func(r rune) bool { return r < ' ' || r > '~' }) && !bytes.HasPrefix(bytes.ToLower(data), []byte("0x"))
}
