// Package seedimage makes seed images from a node and imports them as a second, bootable root beside the running one.
// Package [github.com/reroot-dev/reroot/events/seed] describes what such an image holds.
//
// [Import] is a pipeline on one blob after the other: registry, digest, decompression, tar. What the layer holds is
// unpacked as it passes, the ostree repository into a scratch directory and /var into a new stateroot, so the image
// itself is never stored. Nothing can boot yet. Only when the digest of everything that was read is verified, the commit
// is taken over into the node's repository, where ostree verifies each object once more, and deployed, never as the
// default. A record in the state directory, written last, says that the import is complete. An import that finds no
// such record removes what an earlier one left and starts again; one that fails cleans up after itself; one that finds
// the record of the same image returns at once.
//
// [Create] is the way back: it packs a stopped node's repository, /var and changed /etc and pushes them.
package seedimage
