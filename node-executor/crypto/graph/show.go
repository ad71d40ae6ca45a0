package graph

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
)

// Shown is the graph as people and programs read it: hashes and names, no secrets, each list sorted by id.
type Shown struct {
	Keys         []shownKey         `json:"keys"`
	Certificates []shownCertificate `json:"certificates"`
	Tokens       []shownToken       `json:"tokens"`

	EncryptionKeys []shownEncryptionKey `json:"encryptionKeys,omitempty"` // of encryption at rest
	Unread         []shownUnread        `json:"unread"`
}

type (
	shownKey struct {
		ID        string  `json:"id"`
		Algorithm string  `json:"algorithm"`
		Private   bool    `json:"private"` // the private half is here
		Places    []Place `json:"places"`
	}
	shownCertificate struct {
		ID        string    `json:"id"`
		Name      string    `json:"name"`
		Serial    string    `json:"serial"`
		NotBefore time.Time `json:"notBefore"`
		NotAfter  time.Time `json:"notAfter"`
		Key       string    `json:"key"`
		Issuer    string    `json:"issuer,omitempty"` // key; absent when it is not known
		Places    []Place   `json:"places"`
	}
	shownToken struct {
		ID        string  `json:"id"`
		Algorithm string  `json:"algorithm"`
		Key       string  `json:"key,omitempty"`
		Places    []Place `json:"places"`
	}
	shownEncryptionKey struct {
		ID     string  `json:"id"`
		Bits   int     `json:"bits"`
		Places []Place `json:"places"`
	}
	shownUnread struct {
		Place
		Kind crawl.Kind `json:"kind"`
		Why  string     `json:"why"`
	}
)

// MarshalJSON writes what Show returns.
func (g *Graph) MarshalJSON() ([]byte, error) { return json.Marshal(g.Show()) }

// Show returns what there is to see.
func (g *Graph) Show() Shown {
	out := Shown{Keys: []shownKey{}, Certificates: []shownCertificate{}, Tokens: []shownToken{}, Unread: []shownUnread{}}
	for _, k := range g.SortedKeys() {
		out.Keys = append(out.Keys, shownKey{k.ID.String(), k.Algorithm.String(), k.Private != nil, k.Places})
	}
	for _, c := range g.SortedCertificates() {
		out.Certificates = append(out.Certificates, shownCertificate{
			c.ID.String(), c.CommonName, c.Serial.String(), c.NotBefore, c.NotAfter, c.Key.ID.String(), keyName(c.Issuer), c.Places,
		})
	}
	for _, t := range g.SortedTokens() {
		out.Tokens = append(out.Tokens, shownToken{t.ID.String(), t.Algorithm, keyName(t.Key), t.Places})
	}
	for _, k := range g.SortedEncryptionKeys() {
		out.EncryptionKeys = append(out.EncryptionKeys, shownEncryptionKey{k.ID.String(), 8 * len(k.Bytes), k.Places})
	}
	for _, u := range g.Unread {
		out.Unread = append(out.Unread, shownUnread{u.Place, u.Kind, u.Err.Error()})
	}
	return out
}

func keyName(k *Key) string {
	if k == nil {
		return ""
	}
	return k.ID.String()
}

// WriteDOT draws the graph for Graphviz: keys as boxes, dashed when the private half is not here, and
// certificates and tokens as arrows from the key that signed them. Keys of encryption at rest, which are related to nothing,
// stand alone.
func (g *Graph) WriteDOT(w io.Writer) error {
	const short = 12
	out := bufio.NewWriter(w)
	fmt.Fprintln(out, "digraph material {")
	fmt.Fprintln(out, "  node [shape=box];")
	for _, k := range g.SortedKeys() {
		style := "solid"
		if k.Private == nil {
			style = "dashed"
		}
		fmt.Fprintf(out, "  %q [label=%q, style=%s];\n", k.ID, fmt.Sprintf("%s\n%s", k.Algorithm, k.ID.String()[:short]), style)
	}
	for _, c := range g.SortedCertificates() {
		from := "unknown issuer of " + c.ID.String()[:short]
		if c.Issuer != nil {
			from = c.Issuer.ID.String()
		}
		fmt.Fprintf(out, "  %q -> %q [label=%q];\n", from, c.Key.ID, c.CommonName)
	}
	for _, t := range g.SortedTokens() {
		from, name := "unknown signers of tokens", "token "+t.ID.String()[:short]
		if t.Key != nil {
			from = t.Key.ID.String()
		}
		fmt.Fprintf(out, "  %q -> %q;\n", from, name)
	}
	for _, k := range g.SortedEncryptionKeys() {
		fmt.Fprintf(out, "  %q [style=rounded];\n", fmt.Sprintf("encryption key %s\n%d bits", k.ID.String()[:short], 8*len(k.Bytes)))
	}
	fmt.Fprintln(out, "}")
	return out.Flush()
}
