package site

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"
)

// manifestDir is where static pods are declared.
const manifestDir = "etc/kubernetes/manifests"

// maxFile bounds a file that is read, in bytes.
const maxFile = 4 << 20

// addressFlags are the flags of static pods that hold an address or a port of this node.
var addressFlags = []string{
	"secure-port", "listen-client-urls", "listen-peer-urls", "advertise-client-urls", "initial-advertise-peer-urls",
	"metrics-address", "profiler-address", "listen-metrics-urls",
}

// probedPort is, among the flags, the port of the startup probe: a bare number in a field of that name.
const probedPort = "port"

func collectStaticPods(_ context.Context, src *source, s *Site) error {
	var err error
	s.Names.Flags, err = staticPodFlags(src.root)
	return err
}

// staticPodFlags reads the address flags of every static pod below root.
func staticPodFlags(root *os.Root) (map[string]map[string]string, error) {
	entries, err := fs.ReadDir(root.FS(), manifestDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := map[string]map[string]string{}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		data, err := readBounded(root, path.Join(manifestDir, entry.Name()))
		if err != nil {
			return nil, err
		}
		var pod corev1.Pod
		if err := yaml.Unmarshal(data, &pod); err != nil {
			return nil, fmt.Errorf("cannot read static pod %s: %w", entry.Name(), err)
		}
		if flags := flagsOf(&pod); len(flags) > 0 {
			all[entry.Name()] = flags
		}
	}
	return all, nil
}

func flagsOf(pod *corev1.Pod) map[string]string {
	flags := map[string]string{}
	for _, c := range pod.Spec.Containers {
		for _, arg := range slices.Concat(c.Command, c.Args) {
			name, value, ok := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
			if ok && strings.HasPrefix(arg, "--") && slices.Contains(addressFlags, name) {
				flags[name] = value
			}
		}
	}
	for _, c := range pod.Spec.Containers {
		if p := c.StartupProbe; p != nil && p.TCPSocket != nil {
			flags[probedPort] = p.TCPSocket.Port.String()
		}
	}
	return flags
}

// loadKubeconfig reads a kubeconfig below root; files that it refers to are not followed.
func loadKubeconfig(root *os.Root, name string) (*clientcmdapi.Config, error) {
	data, err := readBounded(root, strings.TrimPrefix(name, "/"))
	if err != nil {
		return nil, fmt.Errorf("cannot read kubeconfig %s: %w", name, err)
	}
	config, err := clientcmd.Load(data)
	if err != nil {
		return nil, fmt.Errorf("cannot read kubeconfig %s: it is malformed", name) // the error could quote keys
	}
	return config, nil
}

// apiServer is host:port of the API server that a kubeconfig names.
func apiServer(config *clientcmdapi.Config) (string, error) {
	c := config.Contexts[config.CurrentContext]
	if c == nil || config.Clusters[c.Cluster] == nil {
		return "", errors.New("it names no cluster")
	}
	return hostPort(config.Clusters[c.Cluster].Server), nil
}

// hostPort is the address in a URL, with its port also where that is the default.
func hostPort(server string) string {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" {
		return server
	}
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "443")
	}
	return u.Host
}

func readBounded(root *os.Root, name string) ([]byte, error) {
	info, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s is not a file of at most %d bytes", name, maxFile)
	}
	return root.ReadFile(name)
}
