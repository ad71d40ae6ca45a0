package staticpod

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// AfterAnnotation names a pod whose startupProbe.tcpSocket must answer before a
// process of the annotated pod is started.
const AfterAnnotation = "lab.reroot.dev/after"

// manifestLimit bounds the size of a manifest, in bytes.
const manifestLimit = 1 << 20

// ParseManifest reads a v1.Pod and reports everything in it that a process cannot
// honour and that would change what runs: init containers, environment from
// elsewhere, restart policies other than Always.
func ParseManifest(data []byte) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(data, pod); err != nil {
		return nil, fmt.Errorf("cannot parse the manifest: %w", err)
	}
	var problems []error
	refuse := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if pod.APIVersion != "v1" || pod.Kind != "Pod" {
		refuse("it is a %s %s, not a v1 Pod", pod.APIVersion, pod.Kind)
	}
	if pod.Name == "" || !filepath.IsLocal(pod.Name) || filepath.Base(pod.Name) != pod.Name {
		refuse("%q is not a pod name", pod.Name)
	}
	if len(pod.Spec.Containers) == 0 {
		refuse("it has no containers")
	}
	if len(pod.Spec.InitContainers) > 0 {
		refuse("init containers are not run")
	}
	if policy := pod.Spec.RestartPolicy; policy != "" && policy != corev1.RestartPolicyAlways {
		refuse("restart policy %s is not followed", policy)
	}
	for _, container := range pod.Spec.Containers {
		if _, err := ImageFile(container.Image); err != nil {
			refuse("container %s: %w", container.Name, err)
		}
		if len(container.EnvFrom) > 0 {
			refuse("container %s: envFrom has no API server to read from", container.Name)
		}
		for _, env := range container.Env {
			if env.ValueFrom != nil {
				refuse("container %s: the value of %s has no API server to be read from", container.Name, env.Name)
			}
		}
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("cannot run the manifest: %w", errors.Join(problems...))
	}
	return pod, nil
}

// ImageFile returns the file name, in the directory of executables, that an image
// stands for: its last path element with the tag behind a dash, for instance
// etcd-3.5 for lab.reroot.dev/etcd:3.5.
func ImageFile(image string) (string, error) {
	name := path.Base(image)
	if strings.Contains(image, "@") || name == "." || name == ".." || name == "/" {
		return "", fmt.Errorf("cannot name the executable of image %q: it must be a name with a tag", image)
	}
	return strings.ReplaceAll(name, ":", "-"), nil
}

// probeAddress returns the TCP address of the first startupProbe of a pod, or "".
func probeAddress(pod *corev1.Pod) string {
	for _, container := range pod.Spec.Containers {
		probe := container.StartupProbe
		if probe == nil || probe.TCPSocket == nil || probe.TCPSocket.Port.Type != intstr.Int {
			continue
		}
		host := probe.TCPSocket.Host
		if host == "" {
			host = "127.0.0.1"
		}
		return net.JoinHostPort(host, probe.TCPSocket.Port.String())
	}
	return ""
}

// readManifests returns the content of each regular file of dir, by name, except
// those whose name begins with a dot.
func readManifests(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	contents := make(map[string][]byte, len(entries))
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") || !entry.Type().IsRegular() {
			continue
		}
		data, err := readBounded(filepath.Join(dir, entry.Name()))
		if errors.Is(err, os.ErrNotExist) { // removed since the directory was read
			continue
		}
		if err != nil {
			return nil, err
		}
		contents[entry.Name()] = data
	}
	return contents, nil
}

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, manifestLimit+1))
	if err != nil {
		return nil, err
	}
	if len(data) > manifestLimit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, manifestLimit)
	}
	return data, nil
}
