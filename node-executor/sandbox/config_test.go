package sandbox_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/sandbox"
)

func TestSplitCommandLine(t *testing.T) {
	for name, test := range map[string]struct {
		line string
		want []string
	}{
		"spaces":        {"  rw   quiet\t\n", []string{"rw", "quiet"}},
		"quoted value":  {`x.y="a b" rw`, []string{"x.y=a b", "rw"}},
		"quoted whole":  {`"x.y=a b" rw`, []string{"x.y=a b", "rw"}},
		"empty value":   {`a= b=""`, []string{"a=", "b="}},
		"empty quotes":  {`"" a`, []string{"", "a"}},
		"unclosed":      {`a "b c`, []string{"a", "b c"}},
		"nothing":       {"  ", nil},
		"other letters": {"a=ü", []string{"a=ü"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := sandbox.SplitCommandLine(test.line); !slices.Equal(got, test.want) {
				t.Errorf("want %q, got %q", test.want, got)
			}
		})
	}
}

const goodConfig = `{"name":"node-1","sysroot":"/s","state":"/t","hostname":"h","console":"/c","socket":"/o",
	"binds":[{"source":"/a","target":"/b","readonly":true}]}`

func TestParseConfig(t *testing.T) {
	config, err := sandbox.ParseConfig([]byte(goodConfig))
	if err != nil {
		t.Fatal(err)
	}
	if config.OnKill != sandbox.OnKillBoot || !config.Binds[0].ReadOnly {
		t.Errorf("got %+v", config)
	}
}

func TestParseConfigRefuses(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"no JSON":         {"name: x", "cannot parse"},
		"unknown field":   {strings.Replace(goodConfig, `"name"`, `"colour":"red","name"`, 1), "colour"},
		"bad name":        {strings.Replace(goodConfig, "node-1", "../node", 1), `name "../node"`},
		"relative path":   {strings.Replace(goodConfig, "/s", "s", 1), `sysroot "s"`},
		"relative bind":   {strings.Replace(goodConfig, "/b", "b", 1), "not absolute"},
		"unknown onKill":  {strings.Replace(goodConfig, `"name"`, `"onKill":"panic","name"`, 1), "onKill"},
		"negative limit":  {strings.Replace(goodConfig, `"name"`, `"maxBoots":-1,"name"`, 1), "maxBoots"},
		"all at once (1)": {"{}", "hostname"},
		"all at once (2)": {"{}", "socket"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := sandbox.ParseConfig([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("want an error with %q, got %v", test.want, err)
			}
		})
	}
}

func TestCgroupMount(t *testing.T) {
	for name, want := range map[string]string{
		"mountinfo-hybrid":  "/sys/fs/cgroup/unified",
		"mountinfo-unified": "/sys/fs/cgroup",
	} {
		t.Run(name, func(t *testing.T) {
			file, err := os.Open(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if got, err := sandbox.CgroupMount(file); err != nil || got != want {
				t.Errorf("want %s, got %s, %v", want, got, err)
			}
		})
	}
	if got, err := sandbox.CgroupMount(strings.NewReader("")); err == nil {
		t.Errorf("no cgroup2 mount: want an error, got %s", got)
	}
}
