package node_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/executor/node"
)

const least = `
cluster: edge-1
journal: {url: "nats://127.0.0.1:4222"}
kubeconfig: /etc/kubernetes/admin.kubeconfig
etcd: {programs: {"3.5": /usr/libexec/etcd-3.5}}
`

func TestParse(t *testing.T) {
	got, err := node.Parse([]byte(least))
	if err != nil {
		t.Fatal(err)
	}
	want := node.Config{
		Cluster: "edge-1", Journal: node.Journal{URL: "nats://127.0.0.1:4222"}, Kubeconfig: "/etc/kubernetes/admin.kubeconfig",
		Gated: []string{"kubelet.service", "crio.service"},
		Etcd:  node.Etcd{Dir: "/var/lib/etcd", Programs: map[string]string{"3.5": "/usr/libexec/etcd-3.5"}},
		Crypto: node.Crypto{
			Roots: []string{"/etc/kubernetes", "/var/lib/kubelet", "/etc/machine-config-daemon"},
			Files: []string{"/etc/mcs-machine-config-content.json", "/etc/mco/proxy.env", "/etc/chrony.conf"},
			Own:   plan.DefaultOwn, External: plan.DefaultExternal,
		},
		Registry:   node.Registry{AuthFile: "/var/lib/kubelet/config.json"},
		Containers: node.Containers{Root: "/var/lib/containers/storage", RunRoot: "/run/containers/storage", Driver: "overlay"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseReportsEverythingThatIsWrong(t *testing.T) {
	_, err := node.Parse([]byte(`
cluster: Edge_1
journal: {url: "http://x", credentials: creds}
kubeconfig: ../admin
gated: ["kubelet; reboot"]
etcd: {dir: /var/lib/../etcd, programs: {"4": etcd}}
crypto: {roots: [etc, /etc/kubernetes], files: [mcs.json, /etc/kubernetes/ca.crt], own: ["["], unknown: kept, orphans: replace, unread: replace}
containers: {driver: zfs, parallel: 1000}
`))
	if err == nil {
		t.Fatal("it was accepted")
	}
	for _, want := range []string{
		`cluster: "Edge_1"`, `journal.url: "http://x"`, `journal.credentials: "creds"`, `kubeconfig: "../admin"`, `gated: "kubelet; reboot"`,
		`etcd.dir: "/var/lib/../etcd"`, `etcd.programs: "4"`, `etcd.programs.4: "etcd"`, `crypto.roots: "etc"`, `containers.driver: "zfs"`,
		`containers.parallel: 1000`, `crypto.files: "mcs.json"`, `one lies within the other`, `pattern "["`, `policy "kept" for unknown`,
		`cannot replace orphans`, `cannot replace what cannot be read`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in the error:\n%v", want, err)
		}
	}
}

func TestParseIsStrict(t *testing.T) {
	for name, text := range map[string]string{
		"unknown field": least + "gate: [kubelet.service]\n",
		"twice":         least + "cluster: edge-2\n",
		"no yaml":       "{",
		"empty":         "",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := node.Parse([]byte(text)); err == nil {
				t.Error("it was accepted")
			}
		})
	}
}

// A file that is searched by default is not named a second time where its directory is.
func TestDefaultFiles(t *testing.T) {
	for name, c := range map[string]struct {
		crypto string
		want   []string
	}{
		"all of /etc":  {"{roots: [/etc]}", nil},
		"the root":     {"{roots: [/]}", nil},
		"other roots":  {"{roots: [/etc/mco, /etc/chrony.conf.d]}", []string{"/etc/mcs-machine-config-content.json", "/etc/chrony.conf"}},
		"other files":  {"{files: [/etc/a]}", []string{"/etc/a"}},
		"no file":      {"{files: []}", []string{}},
		"not the list": {"{unknown: keep}", []string{"/etc/mcs-machine-config-content.json", "/etc/mco/proxy.env", "/etc/chrony.conf"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := node.Parse([]byte(least + "crypto: " + c.crypto + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.Crypto.Files); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestJournal(t *testing.T) {
	for name, c := range map[string]struct{ journal, want string }{
		"on a server":              {`{url: "tls://hub:4222", credentials: /etc/creds, ca: /etc/ca.pem}`, ""},
		"embedded":                 {`{embedded: true}`, ""},
		"embedded, with a port":    {`{embedded: true, port: 4222}`, ""},
		"both":                     {`{embedded: true, url: "tls://hub:4222"}`, "an embedded one has no url"},
		"credentials for oneself":  {`{embedded: true, credentials: /etc/creds}`, "an embedded one has no url"},
		"a port of another server": {`{url: "tls://hub:4222", port: 4222}`, "only an embedded journal has one"},
		"no port":                  {`{embedded: true, port: 70000}`, "70000 is not a port"},
		"neither":                  {`{}`, `"" is not the URL of a NATS server`},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(least, `{url: "nats://127.0.0.1:4222"}`, c.journal, 1)
			_, err := node.Parse([]byte(text))
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
