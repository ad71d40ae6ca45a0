package functions_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
	"github.com/reroot-dev/reroot/functions/restore"
)

// watchers state failures of what they see on the cluster; all others state what they are told. What a watcher states
// of itself is looked at in the source, below.
var watchers = []string{"validate", "backup"}

// TestFailuresToldSayWhatToDo walks every state, lets every function answer whatever may come there, and finds in each
// failure what to do next. The node in these stories advises nothing.
func TestFailuresToldSayWhatToDo(t *testing.T) {
	handlers := maps.Clone(pure)
	handlers[restore.Name] = restore.Function{} // failures of its own need the cluster, those that it passes on do not
	type emitter struct {
		function string
		on, says events.Type
	}
	missing := map[emitter]bool{}
	for _, r := range upgrade.Reactions {
		told := strings.HasSuffix(r.On.Short(), ".failed") || r.Function != restore.Name
		for _, says := range r.Emits {
			if strings.HasSuffix(says.Short(), ".failed") && told && r.Function != "node" && !slices.Contains(watchers, r.Function) {
				missing[emitter{r.Function, r.On, says}] = true
			}
		}
	}
	if len(missing) == 0 {
		t.Fatal("the table names no failure")
	}
	steps(t, func(s upgrade.State, step told) upgrade.State {
		e := (&upgradetest.Story{Upgrade: "up-1", Told: int(s.Sequence)}).Tell(s, step.t, step.over)
		next, err := s.Apply(e, "h")
		if err != nil {
			return s
		}
		for name, f := range handlers {
			if name == restore.Name && !strings.HasSuffix(step.t.Short(), ".failed") || !reacts(name, step.t) {
				continue
			}
			answers, err := f.Handle(t.Context(), next, e)
			if err != nil {
				continue // parked: there is no failure in the history
			}
			for _, a := range answers {
				says := events.TypeOf(a)
				if !strings.HasSuffix(says.Short(), ".failed") {
					continue
				}
				delete(missing, emitter{name, step.t, says})
				var failure events.Failure
				if err := json.Unmarshal(a.Data(), &failure); err != nil || failure.Next == "" {
					t.Errorf("%s says %s because of %s in %s, but not what to do: %s %v", name, says.Short(), step.t.Short(), s.Phase, a.Data(), err)
				}
			}
		}
		return next
	})
	for e := range missing {
		t.Errorf("nothing makes %s say %s because of %s", e.function, e.says.Short(), e.on.Short())
	}
}

func reacts(function string, on events.Type) bool {
	return slices.Contains(upgrade.Subscriptions(function), on)
}

// steps offers every event to every state that any order of events leads to within one upgrade. take says where it leads.
func steps(t *testing.T, take func(s upgrade.State, step told) upgrade.State) {
	t.Helper()
	var offered []told
	for _, d := range events.Catalogue() {
		switch {
		case d.Kind == events.Ephemeral:
		case d.Type == events.TypeNodeRollbackCompleted:
			for _, trigger := range []events.Trigger{events.TriggerUser, events.TriggerWatchdog, events.TriggerUncontrolled} {
				offered = append(offered, told{d.Type, map[string]any{"trigger": trigger}})
			}
			offered = append(offered, told{d.Type, map[string]any{"trigger": events.TriggerFailure, "failure": events.Failure{Reason: events.ReasonCryptoFailed, Message: "no"}}})
		case d.Kind == events.Decision && strings.HasSuffix(d.Type.Short(), ".failed"):
			offered = append(offered, told{d.Type, map[string]any{"next": "mend it"}})
		default:
			offered = append(offered, told{t: d.Type})
		}
	}
	start := upgrade.New(upgradetest.Cluster)
	seen, queue := map[string]bool{place(start): true}, []upgrade.State{start}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		for _, step := range offered {
			if next := take(s, step); !seen[place(next)] {
				seen[place(next)] = true
				queue = append(queue, next)
			}
		}
	}
}

// place is what functions look at in a state.
func place(s upgrade.State) string {
	return fmt.Sprint(s.Phase, s.Booted, s.Old, s.New, s.Pivots, s.Attempt, s.Trigger, s.Failure)
}

// TestFailuresMadeSayWhatToDo looks for failures in the source of every function.
func TestFailuresMadeSayWhatToDo(t *testing.T) {
	made := 0
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for node := range ast.Preorder(file) {
			advice, is := advised(node)
			if !is {
				continue
			}
			made++
			if text, constant := advice.(*ast.BasicLit); advice == nil || constant && len(text.Value) <= len(`""`) {
				t.Errorf("%s: a failure does not say what to do next", files.Position(node.Pos()))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if made < 10 {
		t.Errorf("only %d failures were found", made)
	}
}

// advised is the expression that says what to do next, where the node makes a failure: events.Failure{…} and
// events.Fail(…). A failure whose reason comes from elsewhere is passed on.
func advised(node ast.Node) (advice ast.Expr, is bool) {
	switch n := node.(type) {
	case *ast.CompositeLit:
		if !named(n.Type, "Failure") || len(n.Elts) == 0 {
			return nil, false
		}
		for _, field := range n.Elts {
			if pair, keyed := field.(*ast.KeyValueExpr); keyed {
				if name, ok := pair.Key.(*ast.Ident); ok && name.Name == "Next" {
					return pair.Value, true
				}
			}
		}
		return nil, true
	case *ast.CallExpr:
		if named(n.Fun, "Fail") && len(n.Args) == 3 {
			return n.Args[2], true
		}
	}
	return nil, false
}

// named says whether an expression is a name of package events.
func named(x ast.Expr, name string) bool {
	selected, ok := x.(*ast.SelectorExpr)
	if !ok || selected.Sel.Name != name {
		return false
	}
	pkg, ok := selected.X.(*ast.Ident)
	return ok && pkg.Name == "events"
}
