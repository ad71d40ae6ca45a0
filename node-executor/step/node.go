package step

import (
	"context"
	"errors"
	"time"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/node-executor/step/etc"
	"github.com/reroot-dev/reroot/node-executor/watchdog"
)

// Node is what the steps work with. Each step takes what it needs of it.
type Node struct {
	Host     Host
	Units    Units
	Seeds    Seeds
	Images   Images
	Secrets  Secrets
	Site     Site
	Crypto   Crypto
	API      API
	Watchdog Watchdog

	// CheckProgram says whether the program in the state directory, which the new root will run, is what was installed.
	CheckProgram func() error
	// UpdateTrust makes the node's bundles of trusted authorities anew from the anchors that the site brought along.
	UpdateTrust func(ctx context.Context) error

	State StateDir
	Boot  string   // where boot loader entries find kernels: /boot
	Etc   string   // of the booted deployment: /etc
	Run   string   // what ends with the boot: /run
	Gated []string // units that wait for the site's identity
}

// All are the plans of every command.
func All(n Node) Plans {
	return Plans{
		events.TypeSeedpullRequested:     seedpull(n),
		events.TypePrecacheRequested:     precache(n),
		events.TypePivotRequested:        pivot(n),
		events.TypeCryptoregenRequested:  cryptoregen(n),
		events.TypeReconfigureRequested:  reconfigure(n),
		events.TypeConfirmRequested:      confirm(n),
		events.TypeNodeRollbackRequested: rollback(n),
		events.TypeCleanupRequested:      cleanup(n),
	}
}

// Host is the node's boot loader and deployments, as package host has them.
type Host interface {
	Find(ctx context.Context, stateroot, commit string, serial int) (host.Deployment, error)
	SetDefault(ctx context.Context, stateroot, commit string, serial int) error
	HasSetDefault(ctx context.Context) (bool, error)
	MakeSysrootWritable() error
	Reboot(ctx context.Context, message string) error
}

// Units are systemd's units, as package host has them.
type Units interface {
	IsActive(ctx context.Context, unit string) (bool, error)
	Start(ctx context.Context, unit string) error
	Stop(ctx context.Context, unit string) error
	DaemonReload(ctx context.Context) error
}

// Watchdog is the watchdog of the state directory, as package watchdog has it.
type Watchdog interface {
	Arm(old, new events.Deployment, budget time.Duration) error
	Disarm() error
	Confirm() error
	// GiveUp makes an unconfirmed root one that cannot be confirmed any more.
	GiveUp(why string) (watchdog.Record, error)
	// Guard runs f, with the watchdog's record, while nobody else touches the boot order.
	Guard(f func(watchdog.Record, error) error) error
}

// Seeds imports seed images.
type Seeds interface {
	// Import makes the seed a deployment that is not the default. It may be repeated; when it fails nothing is left.
	Import(ctx context.Context, s SeedImage, tell func(fraction float64, detail string)) (Imported, error)
	// Remove removes a stateroot, its deployments and what the import kept. It is idempotent.
	Remove(ctx context.Context, stateroot string) error
}

// SeedImage says what to import as what.
type SeedImage struct {
	Image     string // pull spec pinned by digest
	Version   string
	Stateroot string
	AuthFile  string
}

// Imported is what an import made.
type Imported struct {
	Target events.Deployment `json:"target"`
	Digest string            `json:"digest"`
	Bytes  int64             `json:"bytes"` // read from the registry
}

// Images brings the container images that a seed lists into the node's storage.
type Images interface {
	Bring(ctx context.Context, stateroot, authFile string, tell func(fraction float64, detail string)) (Brought, error)
}

// Brought counts images.
type Brought struct {
	Total   int `json:"total"`
	Pulled  int `json:"pulled"`
	Present int `json:"present"`
}

// Secrets gives access to registry credentials.
type Secrets interface {
	// AuthFile writes the named pull secret, or the node's own for nil, where only root can read it, and returns the
	// file's path. Call done when it is not needed any more.
	AuthFile(ctx context.Context, ref *events.SecretRef) (path string, done func() error, err error)
}

// Site is the site's identity. It is collected in the old root, kept in the state directory, and applied in the new one.
type Site interface {
	// Collect takes the snapshot; carry names ConfigMaps that the new root has to have as well.
	Collect(ctx context.Context, carry []events.ConfigMapRef) error
	// EtcFiles are the files of the snapshot that belong below /etc.
	EtcFiles() ([]etc.File, error)
	// Offline writes all files of the snapshot into the running root, before the cluster starts.
	Offline() error
	// Online puts the rest on the API, checks that the cluster is the site's, and returns its id. It may be repeated, as
	// after [ErrAway].
	Online(ctx context.Context) (clusterID string, err error)
	// Forget removes the snapshot.
	Forget() error
}

// Crypto regenerates the cluster's cryptography.
type Crypto interface {
	// Regenerate makes the cluster that was copied from the stateroot's seed the site's own. It goes on where an
	// interrupted call for the same upgrade and attempt stopped.
	Regenerate(ctx context.Context, stateroot, upgrade string, attempt int) (Regenerated, error)
}

// Regenerated counts what was done.
type Regenerated struct {
	Regenerated int `json:"regenerated"` // keys
	Kept        int `json:"kept"`        // keys of the site's own signers
	Foreign     int `json:"foreign"`     // certificates of others, left alone
}

// apiPatience is how long a step of the old root waits for the API server, which is up long after the executor when the
// node has lost power in the middle of that step.
const apiPatience = 10 * time.Minute

// reachAPI returns when the API server is ready or has had enough time for it: what is asked of it then says what is
// wrong.
func (n Node) reachAPI(ctx context.Context, t *Task) error {
	patient, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	if err := n.API.Await(patient, t.tell); err != nil && patient.Err() == nil {
		return err
	}
	return ctx.Err()
}

// authFile is a file with the credentials of a command's pull secret.
func (n Node) authFile(ctx context.Context, t *Task, ref *events.SecretRef) (path string, done func() error, err error) {
	if ref != nil {
		if err := n.reachAPI(ctx, t); err != nil {
			return "", nil, err
		}
	}
	return n.Secrets.AuthFile(ctx, ref)
}

// ErrAway: the API server did not answer, or only that it cannot answer now.
var ErrAway = errors.New("the API server is away")

// API is the API server of this node.
type API interface {
	// Await returns when the server is ready, or ctx ends. It tells what it waits for.
	Await(ctx context.Context, tell func(fraction float64, detail string)) error
}
