package hostkey_test

import (
	"crypto"
	"encoding/pem"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/hostkey"
)

// files are what ssh-keygen makes of a key.
func files(t *testing.T, key crypto.Signer) (private, public string) {
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
