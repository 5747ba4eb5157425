// A program over a client that a generator has made of the platform's documents: it makes an action, looks for it and
// deletes it, all with types of the generator, and says each answer in a line of JSON. `testbed/generate` puts the
// generated packages beside it.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"keelson.io/testbed/openapi/actions"
)

// patience is how long the server has for all of it.
const patience = time.Minute

// answer is what came back: of what the generated types hold, the part that a test asks for.
type answer struct {
	Asked  string   `json:"asked"`
	Code   int      `json:"code"`
	Kind   string   `json:"kind"`
	Names  []string `json:"names"`
	Reason string   `json:"reason"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

func run() error {
	server := flag.String("server", "", "URL of the API server")
	authority := flag.String("authority", "", "file with the authority of its certificate")
	certificate := flag.String("certificate", "", "BASE of the files BASE.crt and BASE.key that the client shows")
	namespace := flag.String("namespace", "", "where the action is made")
	name := flag.String("name", "", "how it is called")
	flag.Parse()
	transport, err := transportOf(*authority, *certificate)
	if err != nil {
		return err
	}
	client, err := actions.NewClientWithResponses(*server, actions.WithHTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, step := range []func(context.Context, *actions.ClientWithResponses, string, string) (answer, error){
		create, create, list, read, remove, read,
	} {
		told, err := step(ctx, client, *namespace, *name)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(told); err != nil {
			return err
		}
	}
	return nil
}

func transportOf(authority, certificate string) (*http.Transport, error) {
	pem, err := os.ReadFile(authority)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("the file of the authority holds no certificate")
	}
	pair, err := tls.LoadX509KeyPair(certificate+".crt", certificate+".key")
	if err != nil {
		return nil, err
	}
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}}, nil
}

func create(ctx context.Context, client *actions.ClientWithResponses, namespace, name string) (answer, error) {
	strict := "Strict"
	params := actions.CreateActionsKioKastenIoV1alpha1NamespacedBackupActionParams{FieldValidation: &strict}
	var action actions.IoKastenKioActionsV1alpha1BackupAction
	action.Metadata = &actions.IoK8sApimachineryPkgApisMetaV1ObjectMeta{Name: &name}
	action.Spec.Subject.Name = namespace
	action.Spec.Subject.Namespace = &namespace
	made, err := client.CreateActionsKioKastenIoV1alpha1NamespacedBackupActionWithResponse(ctx, namespace, &params, action)
	if err != nil {
		return answer{}, err
	}
	told := answer{Asked: "create", Code: made.StatusCode(), Reason: reasonOf(made.JSONDefault)}
	return withAction(told, made.JSON201), nil
}

func list(ctx context.Context, client *actions.ClientWithResponses, namespace, _ string) (answer, error) {
	limit := 10
	params := actions.ListActionsKioKastenIoV1alpha1NamespacedBackupActionParams{Limit: &limit}
	found, err := client.ListActionsKioKastenIoV1alpha1NamespacedBackupActionWithResponse(ctx, namespace, &params)
	if err != nil {
		return answer{}, err
	}
	told := answer{Asked: "list", Code: found.StatusCode(), Reason: reasonOf(found.JSONDefault)}
	if found.JSON200 == nil {
		return told, nil
	}
	for index := range found.JSON200.Items {
		told = withAction(told, &found.JSON200.Items[index])
	}
	told.Kind = text(found.JSON200.Kind)
	return told, nil
}

func read(ctx context.Context, client *actions.ClientWithResponses, namespace, name string) (answer, error) {
	found, err := client.ReadActionsKioKastenIoV1alpha1NamespacedBackupActionWithResponse(ctx, namespace, name)
	if err != nil {
		return answer{}, err
	}
	told := answer{Asked: "read", Code: found.StatusCode(), Reason: reasonOf(found.JSONDefault)}
	return withAction(told, found.JSON200), nil
}

func remove(ctx context.Context, client *actions.ClientWithResponses, namespace, name string) (answer, error) {
	params := actions.DeleteActionsKioKastenIoV1alpha1NamespacedBackupActionParams{}
	policy := "Background"
	options := actions.IoK8sApimachineryPkgApisMetaV1DeleteOptions{PropagationPolicy: &policy}
	gone, err := client.DeleteActionsKioKastenIoV1alpha1NamespacedBackupActionWithResponse(
		ctx, namespace, name, &params, options)
	if err != nil {
		return answer{}, err
	}
	told := answer{Asked: "delete", Code: gone.StatusCode(), Reason: reasonOf(gone.JSONDefault)}
	if gone.JSON200 != nil {
		told.Kind = text(gone.JSON200.Kind)
	}
	return told, nil
}

func withAction(told answer, action *actions.IoKastenKioActionsV1alpha1BackupAction) answer {
	if action == nil {
		return told
	}
	told.Kind = text(action.Kind)
	if action.Metadata != nil {
		told.Names = append(told.Names, text(action.Metadata.Name))
	}
	return told
}

func reasonOf(status *actions.IoK8sApimachineryPkgApisMetaV1Status) string {
	if status == nil {
		return ""
	}
	return text(status.Reason)
}

func text(value *string) string {
	if value == nil {
		return ""
	}
	return *value
}
