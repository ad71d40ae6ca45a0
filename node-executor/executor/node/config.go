package node

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
)

// StateDir is where every root sees the state directory.
const StateDir = "/var/lib/reroot"

// ConfigFile is the configuration's name in the state directory.
const ConfigFile = "node.yaml"

// maxConfig bounds the configuration file, in bytes.
const maxConfig = 1 << 20

// Config is node.yaml. Paths are absolute and must be the same in both roots.
type Config struct {
	// Cluster is the name of this cluster in the journal: a DNS label.
	Cluster string  `json:"cluster"`
	Journal Journal `json:"journal"`
	// Kubeconfig is an administrator's for the API server of this node. The cryptography of a new root regenerates
	// it, so it has to lie in one of Crypto.Roots.
	Kubeconfig string `json:"kubeconfig"`
	// Gated are the units that start only when a new root has the site's identity. Default: kubelet.service and
	// crio.service.
	Gated      []string   `json:"gated,omitempty"`
	Etcd       Etcd       `json:"etcd"`
	Crypto     Crypto     `json:"crypto,omitzero"`
	Registry   Registry   `json:"registry,omitzero"`
	Containers Containers `json:"containers,omitzero"`
	// Carry are files, or patterns of them, that go along to a new root besides those that always do.
	Carry []string `json:"carry,omitempty"`
}

// Journal says where the journal is: on a NATS server, or in this process.
type Journal struct {
	URL string `json:"url,omitempty"` // of the NATS server: nats://, tls:// or ws://
	// Embedded makes this process all that the cluster needs: it keeps the journal in the state directory and hosts
	// the functions. There is no URL then.
	Embedded bool `json:"embedded,omitempty"`
	// Port is where on the loopback interface the embedded journal listens, for `reroot` on this node. 0: nowhere, and
	// the ImageBasedUpgrade is the only way in. Whoever reaches the port may order an upgrade, and so may every
	// container in the network of the host.
	Port int `json:"port,omitempty"`
	// Credentials is a file with the node's NATS credentials; CA one with the authorities that sign the server's
	// certificate. Both may be empty.
	Credentials string `json:"credentials,omitempty"`
	CA          string `json:"ca,omitempty"`
}

func (j Journal) check(claim func(ok bool, format string, args ...any)) {
	if j.Embedded {
		claim(j.URL == "" && j.Credentials == "" && j.CA == "", "journal: an embedded one has no url, credentials or ca")
		claim(j.Port >= 0 && j.Port <= 65535, "journal.port: %d is not a port", j.Port)
		return
	}
	u, err := url.Parse(j.URL)
	claim(err == nil && u.Host != "" && strings.Contains(" nats tls ws wss ", " "+u.Scheme+" "), "journal.url: %q is not the URL of a NATS server", j.URL)
	claim(j.Port == 0, "journal.port: only an embedded journal has one")
}

// Etcd says where the cluster's etcd keeps its data, and which programs may open it.
type Etcd struct {
	Dir string `json:"dir,omitempty"` // default: /var/lib/etcd
	// Programs are etcd servers by their minor version, "3.5". A data directory is only opened by one of its own.
	Programs map[string]string `json:"programs"`
}

// Registry says how registries are reached.
type Registry struct {
	AuthFile string `json:"authFile,omitempty"` // default: /var/lib/kubelet/config.json
	CertDir  string `json:"certDir,omitempty"`
	Insecure bool   `json:"insecure,omitempty"` // also plain HTTP and certificates that do not verify
	Config   string `json:"config,omitempty"`   // registries.conf; default: the system's
}

// Containers is the store of container images that CRI-O uses.
type Containers struct {
	Root     string `json:"root,omitempty"`     // default: /var/lib/containers/storage
	RunRoot  string `json:"runRoot,omitempty"`  // default: /run/containers/storage
	Driver   string `json:"driver,omitempty"`   // overlay (default) or vfs
	Parallel int    `json:"parallel,omitempty"` // pulls at the same time; default: 4
	// Options of the driver, as in storage.conf.
	Options []string `json:"options,omitempty"`
}

// Load reads a configuration, fills in defaults and reports everything that is wrong with it.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("cannot read configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(text) > maxConfig {
		err = fmt.Errorf("it has more than %d bytes", maxConfig)
	}
	if err != nil {
		return Config{}, fmt.Errorf("cannot read configuration %s: %w", path, err)
	}
	c, err := Parse(text)
	if err != nil {
		return Config{}, fmt.Errorf("cannot use configuration %s: %w", path, err)
	}
	return c, nil
}

// Parse is [Load] on a text. A field that is not known is an error.
func Parse(text []byte) (Config, error) {
	var c Config
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return Config{}, err
	}
	c.fill()
	return c, c.check()
}

func (c *Config) fill() {
	set := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	set(&c.Etcd.Dir, "/var/lib/etcd")
	set(&c.Registry.AuthFile, "/var/lib/kubelet/config.json")
	set(&c.Containers.Root, "/var/lib/containers/storage")
	set(&c.Containers.RunRoot, "/run/containers/storage")
	set(&c.Containers.Driver, "overlay")
	if c.Gated == nil {
		c.Gated = []string{"kubelet.service", "crio.service"}
	}
	c.Crypto.fill()
}

var unitPattern = regexp.MustCompile(`^[A-Za-z0-9:_.@-]+\.service$`)

func (c *Config) check() error {
	var problems []error
	claim := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	path := func(field, p string) {
		claim(filepath.IsAbs(p) && filepath.Clean(p) == p, "%s: %q is not an absolute, clean path", field, p)
	}
	claim(events.ValidCluster(c.Cluster), "cluster: %q is not a DNS label", c.Cluster)
	c.Journal.check(claim)
	for field, p := range map[string]string{
		"journal.credentials": c.Journal.Credentials, "journal.ca": c.Journal.CA, "registry.certDir": c.Registry.CertDir, "registry.config": c.Registry.Config,
	} {
		if p != "" {
			path(field, p)
		}
	}
	path("kubeconfig", c.Kubeconfig)
	path("etcd.dir", c.Etcd.Dir)
	path("registry.authFile", c.Registry.AuthFile)
	path("containers.root", c.Containers.Root)
	path("containers.runRoot", c.Containers.RunRoot)
	claim(c.Containers.Driver == "overlay" || c.Containers.Driver == "vfs", "containers.driver: %q is neither overlay nor vfs", c.Containers.Driver)
	claim(c.Containers.Parallel >= 0 && c.Containers.Parallel <= 64, "containers.parallel: %d is not between 0 and 64", c.Containers.Parallel)
	claim(len(c.Etcd.Programs) > 0, "etcd.programs: at least one etcd is needed")
	for minor, p := range c.Etcd.Programs {
		claim(etcd.IsMinor(minor), "etcd.programs: %q is not a minor version such as 3.5", minor)
		path("etcd.programs."+minor, p)
	}
	for _, unit := range c.Gated {
		claim(unitPattern.MatchString(unit), "gated: %q is not the name of a service unit", unit)
	}
	for _, list := range []struct {
		field string
		paths []string
	}{{"crypto.roots", c.Crypto.Roots}, {"crypto.files", c.Crypto.Files}, {"crypto.skip", c.Crypto.Skip}, {"carry", c.Carry}} {
		for _, p := range list.paths {
			path(list.field, p)
		}
	}
	return errors.Join(append(problems, c.Crypto.check())...)
}
