// Package configfile reads what a regeneration is to do from a file, for use without the executor.
//
// The file is YAML or JSON, of one of two kinds:
//
//   - our own, see [File] and example.yaml beside it. It names files for everything that is secret or long;
//   - recert's, as the lifecycle-agent writes it, told by its options. They are taken where they mean the same here. One
//     that asks for something that this engine does not do is refused, never passed over ([RefusedError]).
//
// Recert's file names no journal: it is below [RecertJournals], by the file's content. Its summary files are written whether the
// regeneration ends well or not, and never hold a secret.
//
// Either way an option that is not known is an error. What a cluster is called so far is not in the file: it is read from
// the cluster's etcd.
package configfile
