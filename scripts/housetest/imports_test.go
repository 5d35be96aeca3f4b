package housetest

import (
	"go/ast"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// floors gives each top-level directory the directories it may import, itself aside (DESIGN §3).
var floors = map[string][]string{
	"cmd":     {"client", "stack", "detect", "mipv4", "ipsec", "tun"},
	"client":  {"stack", "detect", "mipv4", "ipsec", "tun"},
	"stack":   {"detect", "mipv4", "ipsec", "tun"},
	"detect":  {"tun", "mipv4"}, // of mipv4 only the verified reply: TestDetectTakesOnlyTheReply
	"mipv4":   {"tun"},
	"ipsec":   {"tun"},
	"tun":     {},
	"scripts": {"stack", "tun"},
}

// TestImportArrows shows that imports go down the house's floors only.
func TestImportArrows(t *testing.T) {
	for _, p := range goList(t, "linux", "./...") {
		name, ok := own(p.ImportPath)
		if !ok {
			t.Fatalf("package %s is not below %s", p.ImportPath, module)
		}
		top, _, _ := strings.Cut(name, "/")
		allowed, known := floors[top]
		if !known {
			t.Errorf("%s: the top level is fixed and has no %s", p.ImportPath, top)
			continue
		}
		for _, dep := range p.Imports {
			d, ok := own(dep)
			if !ok {
				continue
			}
			if dtop, _, _ := strings.Cut(d, "/"); dtop != top && !slices.Contains(allowed, dtop) {
				t.Errorf("%s imports %s: %s may import only %v", name, d, top, allowed)
			}
		}
	}
}

// TestNeverBoth shows that mipv4 and ipsec do not reach each other by any way, and that simnet and tun are the leaves
// that any package's tests may use.
func TestNeverBoth(t *testing.T) {
	for _, p := range goList(t, "linux", "./...") {
		name, _ := own(p.ImportPath)
		for _, dep := range p.Deps {
			d, ok := own(dep)
			if !ok {
				continue
			}
			switch {
			case strings.HasPrefix(name, "mipv4/") && strings.HasPrefix(d, "ipsec/"),
				strings.HasPrefix(name, "ipsec/") && strings.HasPrefix(d, "mipv4/"):
				t.Errorf("%s reaches %s", name, d)
			case name == "stack/simnet" && d != "tun/packet" && d != "tun/link":
				t.Errorf("stack/simnet reaches %s: it may use tun/packet and tun/link alone", d)
			case (name == "tun/packet" || name == "tun/link") && !strings.HasPrefix(d, "tun/"):
				t.Errorf("%s is a leaf and reaches %s", name, d)
			}
		}
	}
}

// TestDetectTakesOnlyTheReply shows that detect names nothing of mipv4 but what belongs to the verified reply.
func TestDetectTakesOnlyTheReply(t *testing.T) {
	for _, p := range goList(t, "linux", "./detect/...") {
		for _, imp := range p.Imports {
			if d, ok := own(imp); ok && strings.HasPrefix(d, "mipv4") && d != "mipv4/mobilenode" {
				t.Errorf("%s imports %s: of mipv4 only mipv4/mobilenode's verified reply is allowed", p.ImportPath, d)
			}
		}
		name, _ := own(p.ImportPath)
		for _, f := range sources(t, name, false) {
			ast.Inspect(f.file, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == "mobilenode" && s.Sel.Name != "VerifiedReply" {
						t.Errorf("%s: names mobilenode.%s; only VerifiedReply is allowed", f.set.Position(n.Pos()), s.Sel.Name)
					}
				}
				return true
			})
		}
	}
}

// machines are the packages of protocol machines (DESIGN §2.1): no I/O, no goroutine, no clock, no log.
var machines = []string{
	"mipv4/wire", "mipv4/auth", "mipv4/mobilenode", "mipv4/discovery", "mipv4/tunnel", "mipv4/homeagent", "mipv4/foreignagent", "mipv4/igmp",
	"ipsec/ike", "ipsec/ike/message", "ipsec/suite", "ipsec/esp", "ipsec/gateway",
	"detect/location", "detect/resolve/query", "client/roam", "client/portal", "stack/pathmtu",
}

// machineImports are import paths that would give a machine sockets, files, clocks or logs.
var machineImports = []string{"net", "net/http", "os", "os/exec", "os/signal", "syscall", "log", "log/slog", "context", "go.uber.org/zap"}

// clockNames are the functions of package time that read a clock or make a timer.
var clockNames = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

// TestMachinesArePure shows that no machine's package has a socket, a clock, a goroutine, a log or global randomness.
func TestMachinesArePure(t *testing.T) {
	have := map[string]bool{}
	for _, p := range goList(t, "linux", "./...") {
		name, _ := own(p.ImportPath)
		have[name] = true
	}
	for _, name := range machines {
		if !have[name] {
			t.Errorf("there is no package %s: has it moved? This list must follow", name)
			continue
		}
		for _, f := range sources(t, name, false) {
			for _, s := range f.file.Imports {
				path, err := strconv.Unquote(s.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				if slices.Contains(machineImports, path) || strings.HasPrefix(path, "golang.org/x/sys") || strings.HasPrefix(path, "math/rand") {
					t.Errorf("%s imports %s, which a machine must not have", f.path, path)
				}
			}
			ast.Inspect(f.file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					t.Errorf("%s: a machine starts a goroutine", f.set.Position(n.Pos()))
				case *ast.SelectorExpr:
					x, ok := n.X.(*ast.Ident)
					if ok && x.Name == "time" && slices.Contains(clockNames, n.Sel.Name) {
						t.Errorf("%s: a machine uses time.%s", f.set.Position(n.Pos()), n.Sel.Name)
					}
					if ok && x.Name == "rand" && n.Sel.Name == "Reader" {
						t.Errorf("%s: a machine reads rand.Reader; randomness comes in through the constructor", f.set.Position(n.Pos()))
					}
				}
				return true
			})
		}
	}
}
