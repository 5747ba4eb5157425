package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"

	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/util/proto"
)

const schemaPrefix = "#/components/schemas/"

// readDocument is what Kubernetes' own readers of a document had to say of it.
type readDocument struct {
	Version    string `json:"version"`
	Schemas    int    `json:"schemas"`
	Operations int    `json:"operations"`
	// Where something stands that the typed document does not hold.
	Lost []string `json:"lost"`
	// References that lead nowhere.
	Dangling []string `json:"dangling"`
	// What the parsers behind kubectl and server-side apply refused, and which objects did not fit their own schema.
	Faults []string `json:"faults"`
	// Objects that were held against their schema.
	Objects int `json:"objects"`
}

// doneOperation is one operation, and how the server answered it.
type doneOperation struct {
	ID     string `json:"id"`
	Action string `json:"action"`
	Kind   string `json:"kind"`
	Code   int    `json:"code"`
	// The codes that the document gives, and whether it says what any other means.
	Documented []int `json:"documented"`
	Default    bool  `json:"default"`
}

// runOpenAPI reads documents as kubectl and server-side apply do, holds every object against its schema, and does each
// operation that they name, as far as it changes nothing.
func runOpenAPI(arguments []string) error {
	flags := flag.NewFlagSet("openapi", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "whom to ask, and as whom")
	versions := flags.String("versions", "", "GROUP/VERSION,…")
	submit := flags.String("submit", "", "file with a JSON list of objects to create on trial")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	submitted, err := readSubmitted(*submit)
	if err != nil {
		return err
	}
	config, err := connect(*kubeconfig)
	if err != nil {
		return err
	}
	asker, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	documents, err := asker.OpenAPIV3().Paths()
	if err != nil {
		return err
	}
	for _, version := range strings.Split(*versions, ",") {
		document, published := documents["apis/"+version]
		if !published {
			return fmt.Errorf("no document of %s is published", version)
		}
		raw, err := document.Schema("application/json")
		if err != nil {
			return err
		}
		if err := inspect(version, raw, asker.RESTClient(), objects, submitted); err != nil {
			return fmt.Errorf("%s: %w", version, err)
		}
	}
	say(map[string]bool{"done": true})
	return nil
}

// readSubmitted reads the objects by their kinds.
func readSubmitted(path string) (map[string]*unstructured.Unstructured, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var list []map[string]any
	if err := json.Unmarshal(content, &list); err != nil {
		return nil, err
	}
	found := map[string]*unstructured.Unstructured{}
	for _, object := range list {
		held := &unstructured.Unstructured{Object: object}
		found[held.GetKind()] = held
	}
	return found, nil
}

func inspect(
	version string, raw []byte, asker rest.Interface, objects dynamic.Interface,
	submitted map[string]*unstructured.Unstructured,
) error {
	read := readDocument{Version: version, Lost: []string{}, Dangling: []string{}, Faults: []string{}}
	var document spec3.OpenAPI
	if err := json.Unmarshal(raw, &document); err != nil {
		return err
	}
	read.Schemas = len(document.Components.Schemas)
	if err := read.compare(raw, &document); err != nil {
		return err
	}
	read.parse(raw)
	converter, err := managedfields.NewTypeConverter(document.Components.Schemas, false)
	if err != nil {
		read.Faults = append(read.Faults, err.Error())
	}
	operations := operationsOf(&document)
	read.Operations = len(operations)
	for _, one := range operations {
		if converter != nil && one.action() == "list" && !strings.Contains(one.path, "{namespace}") {
			if err := read.fit(objects, version, one, converter); err != nil {
				return err
			}
		}
	}
	say(map[string]readDocument{"document": read})
	for _, one := range operations {
		done, err := one.do(asker, submitted)
		if err != nil {
			return fmt.Errorf("%s: %w", one.operation.OperationId, err)
		}
		say(map[string]doneOperation{"operation": done})
	}
	return nil
}

// compare writes the document down again from what its types hold, and looks for what is missing.
func (r *readDocument) compare(raw []byte, document *spec3.OpenAPI) error {
	kept, err := json.Marshal(document)
	if err != nil {
		return err
	}
	var before, after any
	if err := json.Unmarshal(raw, &before); err != nil {
		return err
	}
	if err := json.Unmarshal(kept, &after); err != nil {
		return err
	}
	r.differ("", before, after)
	r.follow(before, document)
	return nil
}

func (r *readDocument) differ(at string, before, after any) {
	switch told := before.(type) {
	case map[string]any:
		held, _ := after.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(told)) {
			r.differ(at+"/"+name, told[name], held[name])
		}
	case []any:
		held, _ := after.([]any)
		if len(held) != len(told) {
			r.Lost = append(r.Lost, at)
			return
		}
		for index := range told {
			r.differ(fmt.Sprintf("%s/%d", at, index), told[index], held[index])
		}
	default:
		if !reflect.DeepEqual(before, after) {
			r.Lost = append(r.Lost, at)
		}
	}
}

func (r *readDocument) follow(value any, document *spec3.OpenAPI) {
	switch value := value.(type) {
	case map[string]any:
		if reference, is := value["$ref"].(string); is {
			name, local := strings.CutPrefix(reference, schemaPrefix)
			if !local || document.Components.Schemas[name] == nil {
				r.Dangling = append(r.Dangling, reference)
			}
		}
		for _, inner := range value {
			r.follow(inner, document)
		}
	case []any:
		for _, inner := range value {
			r.follow(inner, document)
		}
	}
}

// parse does what kubectl does with a document in protobuf: gnostic takes no field that the standard does not know.
func (r *readDocument) parse(raw []byte) {
	document, err := openapi_v3.ParseDocument(raw)
	if err != nil {
		r.Faults = append(r.Faults, err.Error())
		return
	}
	models, err := proto.NewOpenAPIV3Data(document)
	if err != nil {
		r.Faults = append(r.Faults, err.Error())
		return
	}
	if _, err := schemaconv.ToSchema(models); err != nil {
		r.Faults = append(r.Faults, err.Error())
	}
}

// fit holds all objects of a kind against its schema, as server-side apply does with what it merges.
func (r *readDocument) fit(
	objects dynamic.Interface, version string, one operation, converter managedfields.TypeConverter,
) error {
	parts := strings.Split(one.path, "/")
	resource, err := parseResource(version + "/" + parts[len(parts)-1])
	if err != nil {
		return err
	}
	list, err := objects.Resource(resource).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return err
	}
	for index := range list.Items {
		object := &list.Items[index]
		r.Objects++
		if _, err := converter.ObjectToTyped(object); err != nil {
			r.Faults = append(r.Faults, fmt.Sprintf("%s %s: %s", object.GetKind(), object.GetName(), err))
		}
	}
	return nil
}

// operation is one of a document.
type operation struct {
	method    string
	path      string
	operation *spec3.Operation
}

// operationsOf lists them in the order of their paths.
func operationsOf(document *spec3.OpenAPI) []operation {
	found := []operation{}
	for _, path := range slices.Sorted(maps.Keys(document.Paths.Paths)) {
		item := document.Paths.Paths[path]
		for _, one := range []operation{
			{http.MethodGet, path, item.Get},
			{http.MethodPost, path, item.Post},
			{http.MethodPut, path, item.Put},
			{http.MethodPatch, path, item.Patch},
			{http.MethodDelete, path, item.Delete},
		} {
			if one.operation != nil {
				found = append(found, one)
			}
		}
	}
	return found
}

func (o operation) action() string {
	action, _ := o.operation.Extensions.GetString("x-kubernetes-action")
	return action
}

func (o operation) kind() string {
	named, _ := o.operation.Extensions["x-kubernetes-group-version-kind"].(map[string]any)
	kind, _ := named["kind"].(string)
	return kind
}

// contentType is the first of those that the document gives for the body, in the order of their names.
func (o operation) contentType() string {
	if o.operation.RequestBody == nil {
		return ""
	}
	types := slices.Sorted(maps.Keys(o.operation.RequestBody.Content))
	if len(types) == 0 {
		return ""
	}
	return types[0]
}

// do asks the server for the operation: for an object that is not there, for many of a label that none has, or on trial.
func (o operation) do(asker rest.Interface, submitted map[string]*unstructured.Unstructured) (doneOperation, error) {
	done := doneOperation{ID: o.operation.OperationId, Action: o.action(), Kind: o.kind(), Documented: []int{}}
	if responses := o.operation.Responses; responses != nil {
		done.Documented = slices.Sorted(maps.Keys(responses.StatusCodeResponses))
		done.Default = responses.Default != nil
	}
	namespace, body := metav1.NamespaceDefault, []byte("{}")
	if object := submitted[o.kind()]; object != nil && o.action() == "post" {
		if object.GetNamespace() != "" {
			namespace = object.GetNamespace()
		}
		var err error
		if body, err = json.Marshal(object.Object); err != nil {
			return done, err
		}
	}
	path := strings.NewReplacer("{namespace}", namespace, "{name}", "nobody").Replace(o.path)
	request := asker.Verb(o.method).AbsPath(path)
	switch o.action() {
	case "list":
		request = request.Param("limit", "1")
	case "deletecollection":
		request = request.Param("dryRun", "All").Param("labelSelector", "nobody=has-it")
	case "post", "patch":
		request = request.Param("dryRun", "All").Body(body)
		if o.contentType() != "" {
			request = request.SetHeader("Content-Type", o.contentType())
		}
	case "delete":
		request = request.Param("dryRun", "All")
	}
	// An error is an answer as well; one that never came has no code.
	result := request.Do(context.Background())
	if result.StatusCode(&done.Code); done.Code == 0 {
		return done, result.Error()
	}
	return done, nil
}
