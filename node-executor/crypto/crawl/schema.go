package crawl

import (
	"reflect"
	"strconv"
	"strings"
	"sync"

	appsv1 "github.com/openshift/api/apps/v1"
	authorizationv1 "github.com/openshift/api/authorization/v1"
	buildv1 "github.com/openshift/api/build/v1"
	imagev1 "github.com/openshift/api/image/v1"
	oauthv1 "github.com/openshift/api/oauth/v1"
	projectv1 "github.com/openshift/api/project/v1"
	quotav1 "github.com/openshift/api/quota/v1"
	routev1 "github.com/openshift/api/route/v1"
	securityv1 "github.com/openshift/api/security/v1"
	templatev1 "github.com/openshift/api/template/v1"
	userv1 "github.com/openshift/api/user/v1"
	"google.golang.org/protobuf/encoding/protowire"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// The protobuf schema of a stored object is in the struct tags of its published Go type
// (`protobuf:"bytes,2,rep,name=data"`), so there is no list of kinds or field numbers to keep here.

// storedKinds knows the kinds of Kubernetes' own API groups and of those that OpenShift's API servers store as protobuf.
// OpenShift's other kinds are custom resources, which are stored as JSON.
var storedKinds = func() *runtime.Scheme {
	kinds := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		scheme.AddToScheme, apiextensionsv1.AddToScheme, appsv1.Install, authorizationv1.Install, buildv1.Install, imagev1.Install, oauthv1.Install,
		projectv1.Install, quotav1.Install, routev1.Install, securityv1.Install, templatev1.Install, userv1.Install,
	} {
		utilruntime.Must(add(kinds)) // fails only if two groups are one
	}
	return kinds
}()

// localKinds are kinds whose Go types are in no module that this program needs otherwise.
var localKinds = map[schema.GroupVersionKind]reflect.Type{
	{Group: "apiregistration.k8s.io", Version: "v1", Kind: "APIService"}: reflect.TypeFor[apiService](),
}

// apiService is what may hold material of kube-aggregator's APIService.
type apiService struct {
	metav1.ObjectMeta `protobuf:"bytes,1,opt,name=metadata"`
	Spec              struct {
		CABundle []byte `protobuf:"bytes,5,opt,name=caBundle"`
	} `protobuf:"bytes,2,opt,name=spec"`
}

// messageSchema is a message's length-delimited fields by number; those between them have no name.
type messageSchema []fieldSchema

// field returns the field of a number.
func (s messageSchema) field(number protowire.Number) (f *fieldSchema, known bool) {
	if int(number) >= len(s) || s[number].name == "" {
		return nil, false
	}
	return &s[number], true
}

// largestField is the largest number of a field that is looked for.
const largestField = 1 << 12

// fieldSchema says how a field's bytes are read: as a document, as a message, as a map entry, or, with
// none of them, not at all.
type fieldSchema struct {
	name     string
	text     bool // string or bytes
	message  *messageType
	mapValue *fieldSchema
}

// messageType is a message whose schema is read when it is needed: a message may hold others of its type.
type messageType struct {
	schema func() messageSchema
}

var messageTypes sync.Map // reflect.Type → *messageType

func messageOf(t reflect.Type) *messageType {
	if known, ok := messageTypes.Load(t); ok {
		return known.(*messageType)
	}
	known, _ := messageTypes.LoadOrStore(t, &messageType{schema: sync.OnceValue(func() messageSchema { return readSchema(t) })})
	return known.(*messageType)
}

func schemaOf(t reflect.Type) messageSchema { return messageOf(t).schema() }

// readSchema reads the struct tags of a Go type.
func readSchema(t reflect.Type) messageSchema {
	var fields messageSchema
	for i := range t.NumField() {
		tag := strings.Split(t.Field(i).Tag.Get("protobuf"), ",")
		if len(tag) < 2 || tag[0] != "bytes" {
			continue
		}
		number, err := strconv.Atoi(tag[1])
		if err != nil || number < 1 || number > largestField {
			continue
		}
		field := fieldOf(t.Field(i).Type)
		field.name = t.Field(i).Name
		for _, part := range tag[2:] {
			if name, ok := strings.CutPrefix(part, "name="); ok {
				field.name = name
			}
		}
		if number >= len(fields) {
			fields = append(fields, make(messageSchema, number+1-len(fields))...)
		}
		fields[number] = field
	}
	return fields
}

// fieldOf reads a Go type the way the generated code marshals it: pointers and slices are transparent,
// []byte is a scalar, a struct is a message. What has a form of its own (a map of lists, say) is
// left alone.
func fieldOf(t reflect.Type) fieldSchema {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8 {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String, reflect.Slice:
		return fieldSchema{text: true}
	case reflect.Struct:
		return fieldSchema{message: messageOf(t)}
	case reflect.Map:
		if t.Elem().Kind() == reflect.Slice && t.Elem().Elem().Kind() != reflect.Uint8 {
			return fieldSchema{}
		}
		value := fieldOf(t.Elem())
		return fieldSchema{mapValue: &value}
	}
	return fieldSchema{}
}
