package housetest

import (
	"bytes"
	"go/ast"
	"go/format"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// maxLines is the length that no file of code may reach, tests aside.
const maxLines = 600

// TestFilesAreFormattedAndShort shows that gofmt would change nothing and that no file is over maxLines.
func TestFilesAreFormattedAndShort(t *testing.T) {
	for _, p := range goList(t, "linux", "./...") {
		name, _ := own(p.ImportPath)
		for _, f := range sources(t, name, true) {
			src, err := os.ReadFile(filepath.Join(root, f.path))
			if err != nil {
				t.Fatal(err)
			}
			want, err := format.Source(src)
			if err != nil {
				t.Fatalf("%s: %v", f.path, err)
			}
			if !bytes.Equal(src, want) {
				t.Errorf("%s is not formatted: gofmt -w it", f.path)
			}
			if n := bytes.Count(src, []byte("\n")); n > maxLines && !strings.HasSuffix(f.path, "_test.go") {
				t.Errorf("%s has %d lines, over %d: divide it by concern", f.path, n, maxLines)
			}
		}
	}
}

// docParts are what each package's comment tells.
var docParts = []string{"Purpose:", "Specification:", "Concurrency:", "Ownership:"}

// TestPackagesAreDocumented shows that each package has a doc.go whose comment has its four parts, and that each exported
// name outside main packages has a comment.
func TestPackagesAreDocumented(t *testing.T) {
	for _, p := range goList(t, "linux", "./...") {
		name, _ := own(p.ImportPath)
		var doc string
		for _, f := range sources(t, name, false) {
			if filepath.Base(f.path) == "doc.go" {
				doc = f.file.Doc.Text()
			}
			if f.file.Name.Name != "main" {
				exportedComments(t, f)
			}
		}
		for _, part := range docParts {
			if !strings.Contains(doc, part) {
				t.Errorf("%s: doc.go does not say %q", name, part)
			}
		}
	}
}

func exportedComments(t *testing.T, f parsed) {
	t.Helper()
	complain := func(n ast.Node, what string) {
		t.Errorf("%s: exported %s has no comment", f.set.Position(n.Pos()), what)
	}
	for _, d := range f.file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
				complain(d, "function "+d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
						complain(s, "type "+s.Name.Name)
					}
				case *ast.ValueSpec:
					for _, n := range s.Names {
						if n.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
							complain(s, "name "+n.Name)
						}
					}
				}
			}
		}
	}
}

// exportedReceiver reports whether d is a function or a method of an exported type.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	x := d.Recv.List[0].Type
	if s, ok := x.(*ast.StarExpr); ok {
		x = s.X
	}
	if i, ok := x.(*ast.IndexExpr); ok {
		x = i.X
	}
	id, ok := x.(*ast.Ident)
	return ok && id.IsExported()
}
