package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/cmd/reroot/reasons"
	"github.com/reroot-dev/reroot/events/timeline"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/schemas"
)

// topic is something that can be explained: a table of all names, and a page for each.
type topic struct {
	word  string
	names func() []string
	list  func() [][]string
	page  func(name string) string
}

// topics in the order in which help names them.
var topics = []topic{
	{"reason", reasonNames, reasonList, reasonPage},
	{"event", shortTypes, eventList, eventPage},
	{"stage", stageNames, stageList, stagePage},
	{"exit-code", codeNames, codeList, codePage},
}

func (a *app) explainCommand() *cobra.Command {
	words := make([]string, len(topics))
	for i, t := range topics {
		words[i] = t.word
	}
	cmd := &cobra.Command{
		Use:   "explain " + strings.Join(words, "|") + " [NAME]",
		Short: "explain failure reasons, events, stages and exit codes",
		Example: `  reroot explain reason SeedNotNewer
  reroot explain event upgrade.requested
  reroot explain exit-code`,
		Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
			lists := []names{constant(words...)}
			if t := find(args); t != nil {
				lists = append(lists, constant(t.names()...))
			}
			return arguments(lists...)(cmd, args, start)
		},
	}
	cmd.RunE = a.run(func(_ context.Context, args []string) error {
		t := find(args)
		if t == nil {
			return wrong("explain "+args[0], "name one of "+strings.Join(words, ", "), "it is none of the things that can be explained")
		}
		if len(args) == 1 {
			return table(a.Out, t.list())
		}
		i := slices.IndexFunc(t.names(), func(n string) bool { return strings.EqualFold(n, args[1]) })
		if i < 0 {
			return wrong("explain "+t.word+" "+args[1], "reroot explain "+t.word, "there is none of this name")
		}
		_, err := fmt.Fprint(a.Out, t.page(t.names()[i]))
		return err
	})
	return cmd
}

// find is the topic that the first argument names, or nil.
func find(args []string) *topic {
	for i, t := range topics {
		if len(args) > 0 && t.word == args[0] {
			return &topics[i]
		}
	}
	return nil
}

func reasonNames() (names []string) {
	for _, r := range reasons.Table {
		names = append(names, r.Reason)
	}
	return names
}

func reasonList() [][]string {
	rows := [][]string{{"REASON", "MEANING"}}
	for _, r := range reasons.Table {
		rows = append(rows, []string{r.Reason, r.Meaning})
	}
	return rows
}

func reasonPage(name string) string {
	r := reasons.Table[slices.IndexFunc(reasons.Table, func(r reasons.Entry) bool { return r.Reason == name })]
	return fmt.Sprintf("%s\n\n%s.\nOne of the %s%s.\n", r.Reason, upper(r.Meaning), strings.ToLower(r.Group[:1]), r.Group[1:])
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func eventList() [][]string {
	rows := [][]string{{"TYPE", "KIND", "WRITER", "MEANING"}}
	for _, d := range events.Catalogue() {
		if d.Kind != events.Ephemeral {
			rows = append(rows, []string{d.Type.Short(), d.Kind.String(), strings.Join(d.Writers, ","), d.Meaning})
		}
	}
	return rows
}

// eventPage tells everything that the tables and schemas know of an event type.
func eventPage(short string) string {
	d, _ := events.Lookup(events.Expand(short))
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s.\n\n", d.Type, upper(d.Meaning))
	fmt.Fprintf(&b, "kind:      %s\nwriter:    %s\nschema:    %s\n", d.Kind, strings.Join(d.Writers, ", "), events.SchemaURI(d.Type))
	if rule := upgrade.Rules[d.Type]; len(rule.From) < len(upgrade.Phases) {
		phases := make([]string, len(rule.From))
		for i, p := range rule.From {
			phases[i] = string(p)
		}
		fmt.Fprintf(&b, "in phase:  %s\n", strings.Join(phases, ", "))
	}
	for _, r := range upgrade.Reactions {
		if r.On == d.Type {
			var emits []string
			for _, t := range r.Emits {
				emits = append(emits, t.Short())
			}
			fmt.Fprintf(&b, "leads to:  %s answers with %s\n", r.Function, strings.Join(emits, " or "))
		}
	}
	if payload := example(d.Type); payload != "" {
		fmt.Fprintf(&b, "\nexample of its data:\n%s\n", payload)
	}
	return b.String()
}

// example is a valid payload of a type, as the schemas' examples have it.
func example(t events.Type) string {
	doc, err := schemas.FS.ReadFile("examples/" + schemas.Name(string(t), events.Prefix) + "/valid.json")
	if err != nil {
		return ""
	}
	var e struct {
		Data json.RawMessage `json:"data"`
	}
	var b bytes.Buffer
	if json.Unmarshal(doc, &e) != nil || json.Indent(&b, e.Data, "", "  ") != nil {
		return ""
	}
	return b.String()
}

// stageMeanings says what the stages of an upgrade are for.
var stageMeanings = map[events.Stage]string{
	events.StageIdle:     "no upgrade is open; asking for it aborts one before the pivot, or gives up the way back after it",
	events.StagePrep:     "checks, import of the seed image as a new stateroot, container images; the cluster runs on undisturbed",
	events.StageUpgrade:  "backup, reboot into the new stateroot, new cryptography, restore, confirm",
	events.StageRollback: "reboot into the old stateroot",
}

func stageNames() []string { return stages }

func stageList() [][]string {
	rows := [][]string{{"STAGE", "MEANING"}}
	for _, name := range stages {
		rows = append(rows, []string{name, stageMeanings[events.Stage(name)]})
	}
	return rows
}

func stagePage(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s.\n\nphases, and the stages that may be asked for in each:\n", name, upper(stageMeanings[events.Stage(name)]))
	for _, p := range upgrade.Phases {
		if p.Stage() != events.Stage(name) {
			continue
		}
		next := "none"
		if valid := p.ValidNextStages(); len(valid) > 0 {
			next = timeline.Stages(valid)
		}
		fmt.Fprintf(&b, "  %-14s  %s\n", p, next)
	}
	return b.String()
}

func codeNames() (names []string) {
	for _, c := range codes {
		names = append(names, fmt.Sprint(int(c.Code)))
	}
	return names
}

func codeList() [][]string {
	rows := [][]string{{"CODE", "NAME", "MEANING"}}
	for _, c := range codes {
		rows = append(rows, []string{fmt.Sprint(int(c.Code)), c.Name, c.Meaning})
	}
	return rows
}

func codePage(code string) string {
	c := codes[slices.Index(codeNames(), code)]
	return fmt.Sprintf("%d %s\n\n%s.\n", c.Code, c.Name, upper(c.Meaning))
}
