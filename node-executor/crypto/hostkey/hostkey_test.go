package hostkey_test

import (
	"bytes"
	"crypto"
	"encoding/pem"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/hostkey"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
)

// files are what ssh-keygen makes of a key.
func files(t testing.TB, key crypto.Signer) (private, public string) {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "root@seed")
	if err != nil {
		t.Fatal(err)
	}
	half, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(half))) + " root@seed\n"
}

func TestRenew(t *testing.T) {
	for name, key := range map[string]crypto.Signer{
		"ssh-ed25519": cryptotest.Ed(t), "ecdsa-sha2-nistp256": cryptotest.EC(t), "ecdsa-sha2-nistp384": cryptotest.EC384(t), "ssh-rsa": cryptotest.RSA(t, 3),
	} {
		t.Run(name, func(t *testing.T) {
			r := hostkey.NewRenewer(cryptotest.NewKeys("fresh").Make)
			oldPrivate, oldPublic := files(t, key)
			private, err := r.Private([]byte(oldPrivate))
			if err != nil {
				t.Fatal(err)
			}
			public, known, err := r.Public([]byte(oldPublic))
			if err != nil || !known {
				t.Fatalf("known %t, %v", known, err)
			}
			signer, err := ssh.ParsePrivateKey(private)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(private), "-----BEGIN OPENSSH PRIVATE KEY-----\n") || signer.PublicKey().Type() != name {
				t.Errorf("got a key of %s, want %s in OpenSSH's form", signer.PublicKey().Type(), name)
			}
			if want := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " root@seed\n"; string(public) != want {
				t.Errorf("got public half %q, want %q", public, want)
			}
			if string(public) == oldPublic {
				t.Error("the key is the old one")
			}
			again, err := r.Private([]byte(oldPrivate))
			if err != nil || string(again) != string(private) {
				t.Errorf("another time the key becomes another one: %v", err)
			}
			for range 2 {
				if again, err := r.Private(private); err != nil || string(again) != string(private) {
					t.Errorf("a new key was replaced: %v", err)
				}
				if again, known, err := r.Public(public); err != nil || !known || string(again) != string(public) {
					t.Errorf("the public half of a new key was replaced: %v", err)
				}
			}
		})
	}
}

// A key in the older form of OpenSSL leaves in OpenSSH's.
func TestOlderForm(t *testing.T) {
	private, err := hostkey.NewRenewer(cryptotest.NewKeys("fresh").Make).Private([]byte(cryptotest.KeyPEM(cryptotest.EC(t))))
	if err != nil {
		t.Fatal(err)
	}
	if signer, err := ssh.ParsePrivateKey(private); err != nil || signer.PublicKey().Type() != "ecdsa-sha2-nistp256" {
		t.Errorf("got %v, %v", signer, err)
	}
}

func TestStrangerStays(t *testing.T) {
	_, public := files(t, cryptotest.Ed(t))
	after, known, err := hostkey.NewRenewer(cryptotest.NewKeys("fresh").Make).Public([]byte(public))
	if err != nil || known || string(after) != public {
		t.Errorf("a key without its private half became %q, known %t, %v", after, known, err)
	}
}

func TestRefused(t *testing.T) {
	r := hostkey.NewRenewer(cryptotest.NewKeys("fresh").Make)
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(cryptotest.Ed(t), "", []byte("word"))
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"nothing": "", "a word": "secret", "locked": string(pem.EncodeToMemory(locked))} {
		t.Run(name, func(t *testing.T) {
			if _, err := r.Private([]byte(file)); err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("private half: %v", err)
			}
			if _, _, err := r.Public([]byte(file)); err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("public half: %v", err)
			}
		})
	}
}

// generate makes keys in no time: those of RSA are always the same.
func generate(f *testing.F) func(pki.Algorithm) (crypto.Signer, error) {
	rsa := cryptotest.RSA(f, 4)
	return func(a pki.Algorithm) (crypto.Signer, error) {
		if a.Name == "RSA" {
			return rsa, nil
		}
		return pki.Generate(a)
	}
}

// Whatever a file is: it becomes a key of the type that it was, and that stays; or it is refused, and nobody is told what is in it.
func FuzzPrivate(f *testing.F) {
	generator := generate(f)
	for _, key := range []crypto.Signer{cryptotest.Ed(f), cryptotest.EC(f), cryptotest.EC384(f), cryptotest.RSA(f, 3)} {
		private, _ := files(f, key)
		f.Add([]byte(private))
		f.Add([]byte(cryptotest.KeyPEM(key)))
	}
	f.Add([]byte("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		r := hostkey.NewRenewer(generator)
		after, err := r.Private(file)
		if err != nil {
			if secret := strings.TrimSpace(string(file)); len(secret) > 8 && strings.Contains(err.Error(), secret) {
				t.Errorf("the error quotes the file: %v", err)
			}
			return
		}
		old, err := ssh.ParsePrivateKey(file)
		if err != nil {
			t.Fatal(err)
		}
		renewed, err := ssh.ParsePrivateKey(after)
		if err != nil || renewed.PublicKey().Type() != old.PublicKey().Type() || bytes.Equal(renewed.PublicKey().Marshal(), old.PublicKey().Marshal()) {
			t.Errorf("%s became %v, %v", old.PublicKey().Type(), renewed, err)
		}
		if again, err := r.Private(after); err != nil || !bytes.Equal(again, after) {
			t.Errorf("the new key was replaced: %v", err)
		}
	})
}

// Whatever a file beside a host key is: it becomes that key's public half if it was the old one's, with its comment, and stays
// as it is if it was another's.
func FuzzPublic(f *testing.F) {
	private, public := files(f, cryptotest.Ed(f))
	_, other := files(f, cryptotest.EC(f))
	for _, file := range []string{public, other, strings.ReplaceAll(public, "root@seed", ""), "# a comment\n" + public, "from=\"*\" " + public, public + other} {
		f.Add([]byte(file))
	}
	r := hostkey.NewRenewer(generate(f))
	renewed, err := r.Private([]byte(private))
	if err != nil {
		f.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(renewed)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		after, known, err := r.Public(file)
		if err != nil {
			return
		}
		if !known {
			if !bytes.Equal(after, file) {
				t.Error("another's key changed")
			}
			return
		}
		key, comment, _, _, err := ssh.ParseAuthorizedKey(after)
		_, was, _, _, wasErr := ssh.ParseAuthorizedKey(file)
		if err != nil || wasErr != nil || !bytes.Equal(key.Marshal(), signer.PublicKey().Marshal()) || comment != was {
			t.Errorf("%q became %q, %v", file, after, err)
		}
		if again, known, err := r.Public(after); err != nil || !known || !bytes.Equal(again, after) {
			t.Errorf("the new half became %q, %v", again, err)
		}
	})
}
