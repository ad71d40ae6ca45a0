package cluster

import (
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/reroot-dev/reroot/test/lab/cluster/pki"
)

// Options say what cluster to make, and where.
type Options struct {
	Identity Identity
	Etc      string // directory that becomes the node's /etc; made if missing
	Var      string // and its /var
	// Auth is the installer's directory, which is not on the node: it gets the
	// administrator's kubeconfig and password.
	Auth string
	// Programs is the result of build.Binaries for "hyperkube" and the etcd of
	// Identity's minor.
	Programs map[string]string
	// Backup is where Velero keeps backups. Nil makes a cluster on which OADP is
	// installed and not set up, as on a cluster that a seed image is made of.
	Backup *BackupStore
	// CRDs are files with further custom resource definitions.
	CRDs []string
	// PullSecret is the registries' credentials in Docker's JSON format; by
	// default some that no registry knows.
	PullSecret []byte
	// KernelArguments are those of the node's machine configuration.
	KernelArguments []string
	// LargeKeys makes every key as large as OKD's is; by default many are elliptic,
	// which takes a tenth of the time.
	LargeKeys bool
	// NewKey makes private keys; by default pki.NewKey. It is called concurrently.
	NewKey func(pki.Algorithm) (crypto.Signer, error)
}

// Cluster is a provisioned cluster, at rest in its node's directories.
type Cluster struct {
	Identity        Identity
	Etc, Var        string
	AdminKubeconfig string // path, outside of the node
	// LegacyToken is the token of a service account in a Secret in the cluster.
	LegacyToken string
}

// Provision makes a single-node cluster: its node's files, and the content of its
// etcd, written by the node's own API server. Nothing of it runs any more when
// Provision returns. The directories must be empty or missing below
// kubernetes/ and lib/etcd. The working directory must be inside this module,
// whose dependencies' custom resource definitions are used.
func Provision(ctx context.Context, opts Options) (*Cluster, error) {
	if err := opts.Identity.Validate(); err != nil {
		return nil, err
	}
	if err := opts.resolve(); err != nil {
		return nil, err
	}
	var made *material
	var defined []*apiextensionsv1.CustomResourceDefinition
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		inv := newInventory(opts.Identity, time.Now())
		if opts.LargeKeys {
			inv = inv.asOnOKD()
		}
		made, err = generate(inv, opts.NewKey)
		return err
	})
	group.Go(func() (err error) {
		defined, err = definitions(groupCtx, opts.CRDs)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	d := disk{opts.Etc, opts.Var}
	if err := writeFiles(d, opts, made); err != nil {
		return nil, err
	}
	// etcd demands a directory that nobody else can read.
	if err := os.MkdirAll(d.host("/var/lib/etcd"), 0o700); err != nil {
		return nil, fmt.Errorf("cannot make data directory: %w", err)
	}
	c := &Cluster{Identity: opts.Identity, Etc: opts.Etc, Var: opts.Var, AdminKubeconfig: filepath.Join(opts.Auth, "kubeconfig")}
	if err := writeAuth(c, made); err != nil {
		return nil, err
	}
	cp, err := Start(ctx, StartOptions{Etc: opts.Etc, Var: opts.Var, Programs: opts.Programs, Identity: opts.Identity})
	if err != nil {
		return nil, err
	}
	c.LegacyToken, err = populate(ctx, cp.Config, opts, made, defined)
	if err := errors.Join(err, cp.Stop()); err != nil {
		return nil, err
	}
	return c, nil
}

// resolve fills in defaults and makes paths independent of where a process runs.
func (o *Options) resolve() (err error) {
	for _, dir := range []*string{&o.Etc, &o.Var, &o.Auth} {
		if *dir == "" {
			return errors.New("cannot provision cluster: Etc, Var and Auth must be given")
		}
		if *dir, err = filepath.Abs(*dir); err != nil {
			return fmt.Errorf("cannot provision cluster: %w", err)
		}
		if err := os.MkdirAll(*dir, 0o755); err != nil {
			return fmt.Errorf("cannot provision cluster: %w", err)
		}
	}
	for _, dir := range []string{filepath.Join(o.Etc, "kubernetes"), filepath.Join(o.Var, "lib", "etcd")} {
		switch entries, err := os.ReadDir(dir); {
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return fmt.Errorf("cannot provision cluster: %w", err)
		case len(entries) > 0:
			return fmt.Errorf("cannot provision cluster: %s is not empty", dir)
		}
	}
	if o.NewKey == nil {
		o.NewKey = pki.NewKey
	}
	if o.PullSecret == nil {
		auth := base64.StdEncoding.EncodeToString([]byte("lab:" + o.Identity.ClusterName))
		o.PullSecret = fmt.Appendf(nil, `{"auths":{"registry.lab.reroot.dev":{"auth":%q}}}`, auth)
	}
	return nil
}

// writeAuth writes what an installer hands to the administrator.
func writeAuth(c *Cluster, m *material) error {
	key, err := m.pairs["admin"].KeyPEM()
	if err != nil {
		return err
	}
	auth := &clientcmdapi.AuthInfo{ClientCertificateData: m.pairs["admin"].CertPEM(), ClientKeyData: key}
	data, err := encodeKubeconfig(c.Identity, "admin", c.Identity.APIHost(), m.bundlePEM(servingAuthorities), auth)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.AdminKubeconfig, data, 0o600); err != nil {
		return fmt.Errorf("cannot write administrator's kubeconfig: %w", err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(c.AdminKubeconfig), "kubeadmin-password"), []byte(m.password), 0o600); err != nil {
		return fmt.Errorf("cannot write administrator's password: %w", err)
	}
	return nil
}

// populate fills a new cluster's API and returns the token in its Secret. The
// cryptography is of kinds that every API server has, so it need not wait for the
// definitions.
func populate(ctx context.Context, config *rest.Config, opts Options, m *material, defined []*apiextensionsv1.CustomResourceDefinition) (token string, err error) {
	a, err := newApplier(config)
	if err != nil {
		return "", err
	}
	cryptography, err := cryptoObjects(opts.Identity, m)
	if err != nil {
		return "", err
	}
	objects, err := clusterObjects(opts, m)
	if err != nil {
		return "", err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.define(groupCtx, defined) })
	group.Go(func() (err error) {
		if err := a.apply(groupCtx, namespacesOf(append(objects, cryptography...), okdNamespaces...)...); err != nil {
			return err
		}
		if err := a.apply(groupCtx, cryptography...); err != nil {
			return err
		}
		token, err = a.applyToken(groupCtx, config, m)
		return err
	})
	if err := group.Wait(); err != nil {
		return "", err
	}
	return token, a.apply(ctx, objects...)
}

// clusterObjects are all objects but the cryptography.
func clusterObjects(opts Options, m *material) ([]runtime.Object, error) {
	now := metav1.Now().Rfc3339Copy()
	objects, err := configObjects(opts, m, now)
	if err != nil {
		return nil, err
	}
	rendered, err := renderedMachineConfig(opts, m)
	if err != nil {
		return nil, err
	}
	objects = append(objects, rendered, ownedMachineConfig(rendered))
	objects = append(objects, healthObjects(opts.Identity, rendered.Name, now)...)
	backup, err := oadpObjects(opts.Backup, now)
	if err != nil {
		return nil, err
	}
	return append(objects, backup...), nil
}

// applyToken writes a service account and its token, which says the account's uid.
func (a *applier) applyToken(ctx context.Context, config *rest.Config, m *material) (string, error) {
	if err := a.apply(ctx, tokenServiceAccount()); err != nil {
		return "", err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", fmt.Errorf("cannot make client: %w", err)
	}
	account, err := client.CoreV1().ServiceAccounts(tokenNamespace).Get(ctx, tokenAccount, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("cannot read service account: %w", err)
	}
	secret, err := tokenObject(m, account.UID)
	if err != nil {
		return "", err
	}
	if err := a.apply(ctx, secret); err != nil {
		return "", err
	}
	return string(secret.Data["token"]), nil
}

// ReportHealthy does once what the operators of OKD and the kubelet would do all
// the time on a healthy cluster called id: it reports the node ready, each
// cluster operator available and the machine config pools up to date. Objects
// that are missing, such as the node of a cluster that has just changed its host
// name, are made.
func ReportHealthy(ctx context.Context, config *rest.Config, id Identity) error {
	if err := id.Validate(); err != nil {
		return err
	}
	a, err := newApplier(config)
	if err != nil {
		return err
	}
	return a.apply(ctx, healthObjects(id, renderedName(id), metav1.Now().Rfc3339Copy())...)
}
