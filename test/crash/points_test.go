package crash_test

import (
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/node-executor/step"
	"github.com/reroot-dev/reroot/test/crash"
)

// tree is the source whose fault points are looked for.
const tree = "../../node-executor"

// TestEveryPointHasARow reads the source: whoever puts a fault point there has to give the matrix a row of it.
func TestEveryPointHasARow(t *testing.T) {
	inMatrix := map[string]bool{}
	for _, r := range rows() {
		inMatrix[r.point] = true
	}
	families := map[string][]string{ // argument → the points that it stands for
		`step.Point(job.Type, s.Name)`:          step.All(step.Node{}).Points(),
		`step.Point(job.Type, "after-"+s.Name)`: step.All(step.Node{}).Points(),
		`"crypto." + point`:                     cryptoPoints(t),
	}
	found := 0
	for _, f := range source(t, tree) {
		ast.Inspect(f.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || f.text(t, call.Fun) != "fault.Maybe" || len(call.Args) != 1 {
				return true
			}
			found++
			arg := f.text(t, call.Args[0])
			points, known := families[arg]
			if name, err := strconv.Unquote(arg); err == nil {
				points, known = []string{name}, true
			}
			if !known {
				t.Errorf("%s: nobody knows which points %s stands for", f.set.Position(call.Pos()), arg)
			}
			for _, p := range points {
				if !inMatrix[p] {
					t.Errorf("%s: the matrix has no row for %s", f.set.Position(call.Pos()), p)
				}
			}
			return true
		})
	}
	if found < len(families) {
		t.Errorf("only %d calls of fault.Maybe were found below %s", found, tree)
	}
}

// TestCryptoPoints: the stand-in for the regeneration of keys passes the points that the real one has.
func TestCryptoPoints(t *testing.T) {
	want := slices.Sorted(slices.Values(cryptoPoints(t)))
	var got []string
	for _, p := range crash.CryptoPoints {
		got = append(got, crash.CryptoPoint(p))
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("points in the source, and those of the stand-in:\n%s", diff)
	}
}

// cryptoPoints are the names that package crypto calls its fault function with.
func cryptoPoints(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, f := range source(t, filepath.Join(tree, "crypto")) {
		for _, d := range f.file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && f.text(t, call.Fun) == "fault" && len(call.Args) == 1 {
					for _, name := range f.values(t, fn, call.Args[0]) {
						all = append(all, "crypto."+name)
					}
				}
				return true
			})
		}
	}
	return all
}

// values are what an expression in a function may be: strings, constants of the file, parameters as the file's own
// calls give them, and sums of those.
func (f sourceFile) values(t *testing.T, fn *ast.FuncDecl, e ast.Expr) []string {
	t.Helper()
	var all []string
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		if err != nil {
			t.Fatal(err)
		}
		return []string{s}
	case *ast.BinaryExpr:
		for _, x := range f.values(t, fn, e.X) {
			for _, y := range f.values(t, fn, e.Y) {
				all = append(all, x+y)
			}
		}
	case *ast.Ident:
		if all = f.constant(t, e.Name); len(all) == 0 {
			all = f.given(t, fn, e.Name)
		}
	}
	if len(all) == 0 {
		t.Errorf("%s: what is %s?", f.set.Position(e.Pos()), f.text(t, e))
	}
	return all
}

// constant is the value of a constant of the file, nothing when it has none of that name.
func (f sourceFile) constant(t *testing.T, name string) (all []string) {
	t.Helper()
	ast.Inspect(f.file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, id := range spec.Names {
			if id.Name == name && i < len(spec.Values) {
				all = f.values(t, nil, spec.Values[i])
			}
		}
		return true
	})
	return all
}

// given are the values that the file's calls of a function give to a parameter.
func (f sourceFile) given(t *testing.T, fn *ast.FuncDecl, parameter string) (all []string) {
	t.Helper()
	at, i := -1, 0
	for _, field := range fn.Type.Params.List {
		for _, name := range field.Names {
			if name.Name == parameter {
				at = i
			}
			i++
		}
	}
	for _, d := range f.file.Decls {
		caller, ok := d.(*ast.FuncDecl)
		if !ok || at < 0 {
			continue
		}
		ast.Inspect(caller, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) <= at {
				return true
			}
			if name := f.text(t, call.Fun); name == fn.Name.Name || strings.HasSuffix(name, "."+fn.Name.Name) {
				all = append(all, f.values(t, caller, call.Args[at])...)
			}
			return true
		})
	}
	return all
}

// sourceFile is a file of Go.
type sourceFile struct {
	set  *token.FileSet
	file *ast.File
}

// source parses the files below a directory, without tests.
func source(t *testing.T, dir string) []sourceFile {
	t.Helper()
	var all []sourceFile
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		all = append(all, sourceFile{set, file})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// text is an expression as it is written.
func (f sourceFile) text(t *testing.T, e ast.Expr) string {
	t.Helper()
	var b strings.Builder
	if err := format.Node(&b, f.set, e); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
