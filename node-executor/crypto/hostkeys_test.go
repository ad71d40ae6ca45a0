package crypto_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
)

// The node's SSH keys are replaced in pairs, keep their modes, and the comment is renamed with everything else.
func TestHostKeys(t *testing.T) {
	s := newSmall(t)
	old := cryptotest.EC(t)
	half, err := ssh.NewPublicKey(old.Public())
	if err != nil {
		t.Fatal(err)
	}
	s.tree["ssh/ssh_host_ecdsa_key"] = cryptotest.KeyPEM(old) // in this form the engine itself would take it for the cluster's
	s.tree["ssh/ssh_host_ecdsa_key.pub"] = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(half))) + " root@seed-node\n"
	s.tree["ssh/sshd_config"] = "# nothing\n"
	dir := s.tree.write(t)
	for name, mode := range map[string]os.FileMode{"ssh_host_ecdsa_key": 0o600, "ssh_host_ecdsa_key.pub": 0o644} {
		if err := os.Chmod(filepath.Join(dir, "ssh", name), mode); err != nil {
			t.Fatal(err)
		}
	}
	summary, err := crypto.Regenerate(t.Context(), configure(t, dir, plan.Rules{
		Renames: rename.Rules{rename.Hostname("seed-node", "target-node")}, Changes: rule.Rules{rule.HostKeys(cryptotest.NewKeys("fresh").Make)},
	}))
	if err != nil {
		t.Fatal(err)
	}
	after := read(t, dir)
	s.consistent(t, after)
	signer, err := ssh.ParsePrivateKey([]byte(after["ssh/ssh_host_ecdsa_key"]))
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " root@target-node\n"; after["ssh/ssh_host_ecdsa_key.pub"] != want {
		t.Errorf("got public half %q, want %q", after["ssh/ssh_host_ecdsa_key.pub"], want)
	}
	if string(signer.PublicKey().Marshal()) == string(half.Marshal()) {
		t.Error("the host key is the seed's")
	}
	for name, mode := range map[string]os.FileMode{"ssh_host_ecdsa_key": 0o600, "ssh_host_ecdsa_key.pub": 0o644} {
		if info, err := os.Stat(filepath.Join(dir, "ssh", name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: got mode %v, %v; want %v", name, info.Mode(), err, mode)
		}
	}
	if got := summary.Rules["SSH host keys"]; got != 2 {
		t.Errorf("the rule is said to apply to %d files, want 2", got)
	}
}
