package validate

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/containers/image/v5/types"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/functions/cluster"
)

// The cluster's own pull secret, used where the request names none.
const (
	globalNamespace = "openshift-config"
	globalName      = "pull-secret"
	pullSecretKey   = ".dockerconfigjson"
)

// pullSecret: the credentials for the seed's registry are there and can be read. Whether the registry takes them is
// for the next check to see.
func (s *subject) pullSecret(ctx context.Context) (finding, error) {
	namespace, name := globalNamespace, globalName
	if ref := s.spec.SeedImageRef.PullSecretRef; ref != nil {
		namespace, name = cluster.LCANamespace, ref.Name
	}
	secret := namespace + "/" + name
	expected := fmt.Sprintf("Secret %s with key %s", secret, pullSecretKey)
	refuse := func(observed string) (finding, error) {
		return fails(events.ReasonPullSecretMissing, observed, expected,
			fmt.Sprintf("cannot read pull secret %s: %s", secret, observed),
			fmt.Sprintf("create the Secret in namespace %s with the key %s, set stage Idle, then ask again", namespace, pullSecretKey))
	}
	u, err := s.Resource(cluster.Secrets).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return refuse("it does not exist")
	}
	if err != nil {
		return finding{}, fmt.Errorf("cannot read Secret %s: %w", secret, err)
	}
	encoded, there, _ := unstructured.NestedString(u.Object, "data", pullSecretKey)
	if !there {
		return refuse("it has no key " + pullSecretKey)
	}
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return refuse("its key " + pullSecretKey + " is not base64")
	}
	access, err := parseCredentials(data)
	if err != nil {
		return refuse(err.Error())
	}
	s.access = access
	return holds(fmt.Sprintf("credentials for %d registries", len(access)), expected)
}

// credentials are those of a pull secret, by registry or by the beginning of a repository's name.
type credentials map[string]types.DockerAuthConfig

// parseCredentials reads the content of a .dockerconfigjson. Errors never quote it: it is secret.
func parseCredentials(data []byte) (credentials, error) {
	var file struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			Username      string `json:"username"`
			Password      string `json:"password"`
			IdentityToken string `json:"identitytoken"`
		} `json:"auths"`
	}
	if json.Unmarshal(data, &file) != nil {
		return nil, errors.New("it is not the JSON of a pull secret")
	}
	if len(file.Auths) == 0 {
		return nil, errors.New("it has no auths")
	}
	all := credentials{}
	for key, a := range file.Auths {
		c := types.DockerAuthConfig{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken}
		if a.Auth != "" {
			pair, err := base64.StdEncoding.DecodeString(a.Auth)
			user, password, ok := strings.Cut(string(pair), ":")
			if err != nil || !ok {
				return nil, fmt.Errorf("its auth for %s is not base64 of user:password", key)
			}
			c.Username, c.Password = user, strings.TrimRight(password, "\x00")
		}
		all[normalized(key)] = c
	}
	return all, nil
}

// normalized drops what old tools put around a registry's name: "https://quay.io/v1/" is "quay.io".
func normalized(key string) string {
	if _, rest, ok := strings.Cut(key, "://"); ok {
		key, _, _ = strings.Cut(rest, "/")
	}
	return strings.TrimSuffix(key, "/")
}

// of are the credentials for a repository such as quay.io/okd/seed: those of the longest name that it begins with, or
// none, which is anonymous.
func (c credentials) of(repository string) *types.DockerAuthConfig {
	for name := repository; ; {
		if found, ok := c[name]; ok {
			return &found
		}
		cut := strings.LastIndexByte(name, '/')
		if cut < 0 {
			return &types.DockerAuthConfig{} // not nil: containers/image would look for some of this process's own
		}
		name = name[:cut]
	}
}
