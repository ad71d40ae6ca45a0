package etc

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// labelAttribute is the extended attribute of SELinux labels.
const labelAttribute = "security.selinux"

// maxContexts bounds a file_contexts file, in bytes; real ones have half a megabyte.
const maxContexts = 8 << 20

// Labels are the SELinux labels that a deployment's policy gives to files. The zero value gives none: without a policy
// nothing is labelled.
type Labels struct {
	rules []labelRule
}

type labelRule struct {
	path  *regexp.Regexp
	kind  string // as in file_contexts: "--" regular file, "-d" directory, "-l" link, "" any
	label string
}

// ReadLabels reads the policy of the deployment whose /etc is dir. A deployment without SELinux has no labels.
func ReadLabels(dir string) (*Labels, error) {
	policy, err := policyType(filepath.Join(dir, "selinux/config"))
	if err != nil || policy == "" {
		return &Labels{}, err
	}
	all := &Labels{}
	// The local file comes last because it overrides: the last rule that matches counts.
	for _, name := range []string{"file_contexts", "file_contexts.local"} {
		if err := all.read(filepath.Join(dir, "selinux", policy, "contexts/files", name)); err != nil {
			return nil, fmt.Errorf("cannot read the policy's file contexts: %w", err)
		}
	}
	return all, nil
}

func policyType(config string) (string, error) {
	text, err := os.ReadFile(config)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %w", config, err)
	}
	settings := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			settings[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	if settings["SELINUX"] == "disabled" {
		return "", nil
	}
	return filepath.Base(settings["SELINUXTYPE"]), nil
}

// read adds the rules that may concern /etc.
func (l *Labels) read(name string) error {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxContexts))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") || !strings.HasPrefix(fields[0], "/etc") {
			continue
		}
		rule := labelRule{label: fields[len(fields)-1]}
		if len(fields) == 3 {
			rule.kind = fields[1]
		}
		if rule.path, err = regexp.Compile("^(?:" + fields[0] + ")$"); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		l.rules = append(l.rules, rule)
	}
	return lines.Err()
}

// Of returns the label of a path relative to /etc, "" when the policy has none for it.
func (l *Labels) Of(name string, mode os.FileMode) string {
	kind := map[os.FileMode]string{0: "--", os.ModeDir: "-d", os.ModeSymlink: "-l"}[mode.Type()]
	label := ""
	for _, r := range l.rules {
		if (r.kind == "" || r.kind == kind) && r.path.MatchString(path.Join("/etc", name)) {
			label = r.label
		}
	}
	if label == "<<none>>" {
		return ""
	}
	return label
}

// set labels the file at name as one at finally, and reads the label back.
func (l *Labels) set(root *os.Root, name, finally string) error {
	if l == nil || len(l.rules) == 0 {
		return nil
	}
	st, err := root.Lstat(name)
	if err != nil {
		return err
	}
	label := l.Of(finally, st.Mode())
	if label == "" {
		return nil
	}
	dir, err := root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	// Through the open directory, so that no link on the way is followed, and neither is the file itself.
	at := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), path.Base(name))
	if err := unix.Lsetxattr(at, labelAttribute, append([]byte(label), 0), 0); err != nil {
		return fmt.Errorf("cannot label it %s: %w", label, err)
	}
	got := make([]byte, 256)
	n, err := unix.Lgetxattr(at, labelAttribute, got)
	if err != nil {
		return fmt.Errorf("cannot read its label back: %w", err)
	}
	if back := strings.TrimRight(string(got[:n]), "\x00"); back != label {
		return fmt.Errorf("it was labelled %s and has the label %s", label, back)
	}
	return nil
}
