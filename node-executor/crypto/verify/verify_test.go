package verify_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// One rule of the regeneration is broken at a time, and the verification must notice.
func TestEveryMistakeIsNoticed(t *testing.T) {
	day := func(r *pki.Reissue) {
		r.NotBefore, r.NotAfter = cryptotest.Begin.AddDate(0, 0, 1), cryptotest.End.AddDate(0, 0, 1)
	}
	same := func(*pki.Reissue) {}
	for _, test := range []struct {
		name  string
		wrong func(t *testing.T, s *staged)
		want  string
	}{
		{"nothing is wrong", func(*testing.T, *staged) {}, ""},
		{"nothing is wrong once more", func(t *testing.T, s *staged) { s.reissue(t, "leaf", same) }, ""},

		// sites
		{"a site is called otherwise", func(_ *testing.T, s *staged) { s.change("node2.conf").Name = "/etc/node3.conf" }, "is not to be /etc/node2.conf"},
		{"a site keeps its name", func(_ *testing.T, s *staged) { s.drop("node1.conf"); s.drop("node2.conf") }, "is not to be /etc/node2.conf"},
		{"a renamed site stays", func(_ *testing.T, s *staged) { s.drop("node1.conf") }, "is not to be /etc/node2.conf and nothing else"},
		{"a site is deleted", func(_ *testing.T, s *staged) {
			s.changes = append(s.changes, site.Change{Ref: site.Ref{Store: site.File, Name: "/etc/lasting"}, Delete: true})
		}, "/etc/lasting: is to be deleted"},
		{"a bystander is written", func(_ *testing.T, s *staged) {
			s.changes = append(s.changes, site.Change{Ref: site.Ref{Store: site.File, Name: "/etc/lasting"}, After: []byte("x")})
		}, "/etc/lasting: is to be changed and was not read"},

		// successors
		{"a place was forgotten", func(_ *testing.T, s *staged) { s.drop("account") }, "not the successor"},
		{"a piece was lost", func(_ *testing.T, s *staged) { s.change("bundle").After = []byte("empty") }, "held 2 pieces of material and now 0"},
		{"two pieces changed places", func(_ *testing.T, s *staged) {
			c := s.change("bundle")
			half := bytes.Index(c.After[1:], []byte("-----BEGIN")) + 1
			c.After = append(bytes.Clone(c.After[half:]), c.After[:half]...)
		}, "not the successor"},

		// keys
		{"a key was kept", func(t *testing.T, s *staged) {
			id := s.key(t, "other")
			s.made.Keys[id] = s.found.Graph.Keys[id].Private
			s.reissue(t, "other", same)
		}, "not replaced by a new one"},
		{"two keys became one", func(t *testing.T, s *staged) {
			s.made.Keys[s.key(t, "other")] = s.made.Keys[s.key(t, "ca")]
			s.reissue(t, "other", same)
		}, "same successor"},
		{"another algorithm", func(t *testing.T, s *staged) {
			s.made.Keys[s.key(t, "other")] = cryptotest.Ed(t)
			s.reissue(t, "other", same)
		}, "of ECDSA-256 became Ed25519"},
		{"an encryption key was kept", func(t *testing.T, s *staged) {
			for id, key := range s.found.Graph.EncryptionKeys {
				s.made.EncryptionKeys[id] = key.Bytes
			}
			s.stage(t)
		}, "not replaced by a new one of its size"},
		{"an encryption key of another size", func(t *testing.T, s *staged) {
			for id := range s.found.Graph.EncryptionKeys {
				s.made.EncryptionKeys[id] = []byte("sixteen bytes...")
			}
			s.stage(t)
		}, "not replaced by a new one of its size"},

		// certificates
		{"signed by another", func(t *testing.T, s *staged) {
			s.reissue(t, "leaf", func(r *pki.Reissue) { r.Signer = s.made.Keys[s.key(t, "other")] })
		}, "not signed by its issuer's successor"},
		{"signed with the old key", func(t *testing.T, s *staged) {
			s.reissue(t, "leaf", func(r *pki.Reissue) { r.Signer = s.found.Graph.Keys[s.key(t, "ca")].Private })
		}, "not signed by its issuer's successor"},
		{"on the old key", func(t *testing.T, s *staged) {
			s.reissue(t, "leaf", func(r *pki.Reissue) { r.PublicKey = nil })
		}, "not on its key's successor"},
		{"the old serial number", func(t *testing.T, s *staged) {
			s.reissue(t, "leaf", func(r *pki.Reissue) { r.Serial = nil })
		}, "shares issuer and serial number"},
		{"the serial number of another", func(t *testing.T, s *staged) {
			var taken pki.Reissue
			s.reissue(t, "numbered", func(r *pki.Reissue) { taken = *r })
			s.reissue(t, "leaf", func(r *pki.Reissue) { r.Serial = taken.Serial })
		}, "shares issuer and serial number"},
		{"the own old identifier", func(t *testing.T, s *staged) {
			s.reissue(t, "other", func(r *pki.Reissue) { r.SubjectKeyID = s.certificate(t, "other").SubjectKeyID })
		}, "has the identifier of the old key"},
		{"another length of validity", func(t *testing.T, s *staged) {
			s.reissue(t, "leaf", func(r *pki.Reissue) { r.NotAfter = r.NotAfter.AddDate(0, 0, -1) })
		}, "valid for another time"},
		{"another begin of validity", func(t *testing.T, s *staged) { s.reissue(t, "leaf", day) }, "valid for another time"},
		{"another subject", func(t *testing.T, s *staged) {
			s.reissueFrom(t, "leaf", []byte("seed"), []byte("tree"), same)
		}, "another subject or issuer"},
		{"another common name", func(t *testing.T, s *staged) {
			s.reissueFrom(t, "leaf", []byte("\x13\x04leaf"), []byte("\x13\x04fael"), same)
		}, "another subject or issuer"},
		{"the usage of a key", func(t *testing.T, s *staged) {
			s.reissueFrom(t, "leaf", []byte{3, 2, 7, 0x80}, []byte{3, 2, 5, 0xa0}, same)
		}, "has other extensions"},
		{"an extension that is critical no longer", func(t *testing.T, s *staged) {
			s.reissueFrom(t, "leaf", []byte{0x55, 0x1d, 0x0f, 1, 1, 0xff}, []byte{0x55, 0x1d, 0x0f, 1, 1, 0}, same)
		}, "has other extensions"},
		{"a name that was not renamed", func(t *testing.T, s *staged) {
			s.reissue(t, "leaf", func(r *pki.Reissue) { r.Name = nil })
		}, "has other extensions"},
		{"an address that was renamed", func(t *testing.T, s *staged) {
			s.reissue(t, "leaf", func(r *pki.Reissue) {
				name := r.Name
				r.Name = func(old string) string { return strings.Replace(name(old), "10.0.0.1", "10.0.0.2", 1) }
			})
		}, "has other extensions"},

		// authorities
		{"another name of the issuer", func(t *testing.T, s *staged) {
			s.reissue(t, "leaf", func(r *pki.Reissue) {
				name := r.Name
				r.Name = func(old string) string { return strings.Replace(name(old), "ca", "authority", 1) }
			})
		}, "no longer has its issuer's name"},
		{"the old identifier of the issuer", func(t *testing.T, s *staged) {
			s.reissue(t, "leaf", func(r *pki.Reissue) { r.AuthorityKeyID = nil })
		}, "no longer names its issuer's key"},
		{"the old serial number of the issuer", func(t *testing.T, s *staged) {
			s.reissue(t, "numbered", func(r *pki.Reissue) { r.AuthoritySerial = nil })
		}, "no longer names its issuer's certificate"},
		{"an issuer with another serial number", func(t *testing.T, s *staged) {
			s.reissue(t, "ca", func(r *pki.Reissue) {
				var err error
				if r.Serial, err = pki.NewSerial(); err != nil {
					t.Fatal(err)
				}
			})
		}, "no longer names its issuer's certificate"},

		// tokens
		{"the token of another", func(t *testing.T, s *staged) {
			for id := range s.made.Tokens {
				s.made.Tokens[id] = []byte(cryptotest.Token(t, cryptotest.EC(t), "a"))
			}
			s.stage(t)
		}, "not signed by its key's successor"},
		{"other claims", func(t *testing.T, s *staged) {
			for id, token := range s.found.Graph.Tokens {
				s.made.Tokens[id] = []byte(cryptotest.Token(t, s.made.Keys[token.Key.ID], "someone else"))
			}
			s.stage(t)
		}, "another payload"},
		{"the old key's name", func(t *testing.T, s *staged) {
			for id, token := range s.found.Graph.Tokens {
				var err error
				if s.made.Tokens[id], err = token.Resign(pki.KeyID{}, s.made.Keys[token.Key.ID]); err != nil {
					t.Fatal(err)
				}
			}
			s.stage(t)
		}, "does not name its key"},

		// pairs
		{"a certificate beside the key of another", func(t *testing.T, s *staged) {
			s.replace(t, "leaf", cryptotest.KeyPEM(s.made.Keys[s.key(t, "leaf")]), cryptotest.KeyPEM(s.made.Keys[s.key(t, "other")]))
		}, "no longer fits the private key beside it"},
		{"a certificate beside another authority", func(t *testing.T, s *staged) {
			now := func(name string) string {
				return cryptotest.Block("CERTIFICATE", s.made.Certificates[s.certificate(t, name).ID])
			}
			s.replace(t, "chain", now("ca"), now("other"))
		}, "no longer signed by the authority beside it"},

		// bystanders
		{"a name was forgotten", func(_ *testing.T, s *staged) { s.change("node2.conf").After = []byte("only node1") }, "node1.conf: has changed beside its material"},
		{"a comment was added", func(t *testing.T, s *staged) { s.replace(t, "bundle", "", "# more\n") }, "changed beside its material"},
		{"a line break was lost", func(t *testing.T, s *staged) { s.replace(t, "bundle", "-----\n-----", "----------") }, "changed beside its material"},
		{"a field that is no text", func(t *testing.T, s *staged) { s.replace(t, secretKey, "\x28\x01", "\x28\x00") }, "changed beside its material"},
		{"an annotation that was not true anyway", func(t *testing.T, s *staged) { s.replace(t, secretKey, "nobody", "anyone") }, "changed beside its material"},
		{"a rule's value was renamed", func(_ *testing.T, s *staged) { s.change("chrony.conf").After = []byte("server node2") }, "value that a rule gives it"},

		// copies and agreements
		{"a copy was forgotten", func(_ *testing.T, s *staged) { s.change("manifest").After = []byte("host: node1") }, "was a copy of"},
		{"a copy became another", func(_ *testing.T, s *staged) { s.change("copy of manifest").After = []byte("host: node3") }, "was a copy of"},
		{"an annotation was forgotten", func(t *testing.T, s *staged) {
			s.reissue(t, "leaf", day)
			s.replace(t, secretKey, cryptotest.Begin.AddDate(0, 0, 1).Format(time.RFC3339), cryptotest.Begin.Format(time.RFC3339))
		}, "is no longer true"},

		// secrets
		{"an old key in another form", func(t *testing.T, s *staged) {
			s.replace(t, "node2.conf", "", string(pki.Secrets(s.found.Graph.Keys[s.key(t, "ca")].Private)[0]))
		}, "still holds the private key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := stage(t, nil)
			test.wrong(t, s)
			if got := s.problems(); !strings.Contains(got, test.want) || test.want == "" && got != "" {
				t.Errorf("got problems\n%s\nwant one that says %q", got, test.want)
			}
		})
	}
}
