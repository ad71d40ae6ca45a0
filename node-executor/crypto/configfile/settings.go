package configfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"sigs.k8s.io/yaml"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
)

// maxFile bounds the file and those that it names, in bytes.
const maxFile = 4 << 20

// Settings are what a file says, of whichever kind it is.
type Settings struct {
	Roots []files.Root
	Skip  []string
	// DataDir or Endpoint is where the key space is; both are nil when there is none.
	DataDir  *etcd.DataDir
	Endpoint *etcd.Endpoint
	// Journal is the directory for work in progress; "" when the file does not say. Recert's files cannot: theirs is
	// below [RecertJournals].
	Journal string
	// Summary are files that get the summary, YAML or, when they are named so, JSON.
	Summary []string
	// DryRun says that only the plan is wanted.
	DryRun bool
	// Threads bounds the processors that are used; 0 for all.
	Threads int

	rules   plan.Rules
	target  Names
	proxy   rule.ProxySettings // of programs: the Proxy's status
	bundles map[string][]byte  // authorities by the ConfigMap of openshift-config that gets them
}

// Load reads a file. Now is when validity that is extended begins.
func Load(path string, now time.Time) (*Settings, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read configuration: %w", err)
	}
	s, err := parse(text, now)
	if err != nil {
		return nil, fmt.Errorf("cannot use configuration %s: %w", path, err)
	}
	return s, nil
}

func parse(text []byte, now time.Time) (*Settings, error) {
	options := map[string]any{}
	if err := yaml.Unmarshal(text, &options); err != nil {
		return nil, errors.New("it is not an object in YAML or JSON") // the parser may quote it, secrets included
	}
	if isRecert(slices.Collect(maps.Keys(options))) {
		return parseRecert(text, now)
	}
	return parseOwn(text, now)
}

// strictly decodes YAML in which nothing is unknown and nothing stands twice.
func strictly(text []byte, into any) error {
	err := yaml.UnmarshalStrict(text, into)
	if err == nil {
		return nil
	}
	// Only the kinds of error that name an option are passed on: others may quote a value.
	const unknown, twice = "unknown field ", "already set in map"
	told := err.Error()
	if _, name, found := strings.Cut(told, unknown); found {
		return fmt.Errorf("there is no option %s%s", name, instead[strings.Trim(name, `"`)])
	}
	if strings.Contains(told, twice) {
		return errors.New("an option stands twice")
	}
	return errors.New("an option has a value of another kind than it should")
}

// instead tells what there is in the place of an option that someone may look for.
var instead = map[string]string{
	"root_ca": ": an authority of one's own takes the place of one of the cluster's by use_key_rules",
	"rootCA":  ": an authority of one's own takes the place of one of the cluster's by keep.keys",
	"resume":  ": the same command with the same journal goes on",
}

// Bare is the engine's configuration without any rules, to look at what is there.
func (s *Settings) Bare(runner etcd.Runner, copyTo string) crypto.Config {
	c := s.Config(runner, copyTo)
	c.Rules, c.Learn = plan.Rules{}, nil
	return c
}

// Config is the engine's configuration. The runner starts an etcd for a data directory; copyTo, when it is not empty, is
// where a copy of that directory is made, so that not even etcd's log is written to.
func (s *Settings) Config(runner etcd.Runner, copyTo string) crypto.Config {
	c := crypto.Config{Roots: s.Roots, Skip: s.Skip, Journal: s.Journal, Rules: s.rules}
	switch {
	case s.DataDir != nil:
		dir := *s.DataDir
		dir.Runner, dir.CopyTo = runner, copyTo
		c.Etcd = dir
	case s.Endpoint != nil:
		c.Etcd = *s.Endpoint
	default:
		return c
	}
	c.Learn = func(ctx context.Context, cluster clientv3.KV) (plan.Rules, error) { return s.learn(ctx, cluster) }
	return c
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return text, err
}

// inPlace returns a text itself when it is PEM, and the content of the file that it names otherwise.
func inPlace(text string) ([]byte, error) {
	if bytes.Contains([]byte(text), []byte("-----BEGIN")) {
		return []byte(text), nil
	}
	return readFile(text)
}
