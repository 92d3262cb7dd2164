package main

import (
	"bytes"
	"fmt"
	"slices"

	"weft/internal/mesh/model"
)

const openAPIPath = "api/openapi.yaml"

// openAPI writes the document that describes reading and writing objects over HTTP.
func (g *generator) openAPI(files map[string][]byte) error {
	paths, schemas := tree{}, errorSchemas()
	for _, k := range g.kinds {
		if k.Hidden {
			continue
		}
		if err := g.addKind(k, paths, schemas); err != nil {
			return fmt.Errorf("OpenAPI of %s: %w", k.Name, err)
		}
	}
	var b bytes.Buffer
	b.WriteString(header)
	for _, part := range []tree{
		{"openapi": "3.1.0"},
		{"info": tree{
			"title":       "Weft control plane",
			"version":     "v1alpha1",
			"license":     tree{"name": "Apache-2.0", "identifier": "Apache-2.0"},
			"description": "Reading and writing the objects of meshes. Objects are read from every control plane; where they are written depends on the kind.",
		}},
		{"servers": []any{tree{"url": "http://localhost:5681"}, tree{"url": "https://localhost:5682"}}},
		{"paths": paths},
		{"components": tree{"schemas": schemas, "parameters": parameters(), "responses": responses()}},
	} {
		text, err := marshal(part)
		if err != nil {
			return fmt.Errorf("OpenAPI: %w", err)
		}
		b.Write(text)
	}
	files[openAPIPath] = b.Bytes()
	return nil
}

// addKind adds the schemas of an object and a list, and the paths.
func (g *generator) addKind(k *model.Kind, paths, schemas tree) error {
	item, list := k.Name+"Item", k.Name+"List"
	for _, name := range []string{item, list} {
		if schemas[name] != nil {
			return fmt.Errorf("the schema %s exists twice", name)
		}
	}
	object, err := g.objectSchema(k, schemas)
	if err != nil {
		return err
	}
	schemas[item] = object
	schemas[list] = tree{
		"type":        "object",
		"description": "A page of a list, sorted by mesh and name.",
		"required":    []string{"total", "items", "next"},
		"properties": tree{
			"total": tree{"type": "integer", "description": "Number of objects on all pages."},
			"items": tree{"type": "array", "items": ref("schemas", item)},
			"next":  tree{"type": []string{"string", "null"}, "description": "URL of the next page; null on the last one."},
		},
	}
	collection := "/" + k.Plural
	if k.Scope == model.InMesh {
		paths[collection] = tree{"get": operation(k, "list"+upperFirst(k.Name)+"OfAllMeshes", "Lists objects of all meshes.", listParameters(k), ok(list, "The list."), "400")}
		collection = "/meshes/{mesh}/" + k.Plural
	}
	paths[collection] = inMesh(k, tree{
		"get": operation(k, "list"+k.Name, "Lists objects.", listParameters(k), ok(list, "The list."), "400", "404"),
	})
	paths[collection+"/{name}"] = inMesh(k, oneOperations(k, item), ref("parameters", "name"))
	return nil
}

// oneOperations are those on one object.
func oneOperations(k *model.Kind, item string) tree {
	out := tree{
		"get": operation(k, "get"+k.Name, "Reads an object.", []any{ref("parameters", "format"), ref("parameters", "namespace")}, ok(item, "The object."), "400", "404"),
	}
	if k.ReadOnly {
		return out
	}
	put := operation(k, "put"+k.Name, "Creates an object or replaces it with its labels.", nil, tree{
		"200": response("The object was replaced.", "Written"),
		"201": response("The object was created.", "Written"),
	}, "400", "404", "405", "409", "415")
	put["requestBody"] = tree{"required": true, "content": content(item)}
	out["put"] = put
	out["delete"] = operation(k, "delete"+k.Name, "Deletes an object and what belongs to it.", nil, tree{
		"200": response("The object was deleted.", "Deleted"),
	}, "400", "404", "405")
	return out
}

// inMesh adds the parameters that are part of the path.
func inMesh(k *model.Kind, item tree, params ...any) tree {
	if k.Scope == model.InMesh {
		params = append([]any{ref("parameters", "mesh")}, params...)
	}
	if len(params) > 0 {
		item["parameters"] = params
	}
	return item
}

// operation returns an operation with the answers that all have.
func operation(k *model.Kind, id, summary string, params []any, answers tree, problems ...string) tree {
	for _, status := range append(problems, "401", "403", "406", "500") {
		answers[status] = ref("responses", "Error"+status)
	}
	out := tree{"operationId": id, "summary": summary, "tags": []string{k.Name}, "responses": answers}
	if len(params) > 0 {
		out["parameters"] = params
	}
	return out
}

func listParameters(k *model.Kind) []any {
	names := []string{"size", "offset", "nameFilter", "labelFilter"}
	if k.Name == "Dataplane" || k.Name == "ExternalService" {
		names = append(names, "tag")
	}
	if k.Name == "Dataplane" {
		names = append(names, "gateway")
	}
	out := make([]any, len(names))
	for i, n := range names {
		out[i] = ref("parameters", n)
	}
	return out
}

// objectSchema describes the REST form of an object.
func (g *generator) objectSchema(k *model.Kind, schemas tree) (tree, error) {
	doc, err := g.kindDoc(k)
	if err != nil {
		return nil, err
	}
	props := tree{
		"type":             tree{"type": "string", "enum": []string{k.Name}},
		"name":             tree{"type": "string", "description": "Name of the object, unique for its kind and mesh.", "maxLength": 253, "pattern": `^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`},
		"labels":           tree{"type": "object", "description": "Labels of the object. The control plane adds some of its own.", "additionalProperties": tree{"type": "string"}},
		"creationTime":     tree{"type": "string", "format": "date-time", "description": "When the object was created. Ignored when written."},
		"modificationTime": tree{"type": "string", "format": "date-time", "description": "When the object was last written. Ignored when written."},
	}
	required := []string{"type", "name"}
	if k.Scope == model.InMesh {
		props["mesh"] = tree{"type": "string", "description": "Mesh of the object.", "maxLength": 253, "default": model.DefaultMesh}
		if k.Shape == model.Flat {
			delete(props["mesh"].(tree), "default")
			required = append(required, "mesh")
		}
	}
	out := tree{"type": "object", "description": doc, "properties": props}
	w := &schemaWriter{docs: g.docs, components: schemas}
	if k.Shape == model.SpecBlock {
		if required, err = addBlocks(w, k, props, required); err != nil {
			return nil, err
		}
	} else if err := addFlat(w, k, props); err != nil {
		return nil, err
	}
	slices.Sort(required)
	out["required"] = required
	return out, nil
}

func addBlocks(w *schemaWriter, k *model.Kind, props tree, required []string) ([]string, error) {
	var err error
	if props["spec"], err = w.write(k.SpecSchema(), specType(k), ""); err != nil {
		return nil, err
	}
	if k.SpecSchema().Required != nil {
		required = append(required, "spec")
	}
	if s := k.StatusSchema(); s != nil {
		props["status"], err = w.write(s, statusType(k), "")
	}
	return required, err
}

// addFlat puts the fields of the spec beside those that all objects have.
func addFlat(w *schemaWriter, k *model.Kind, props tree) error {
	s, fields := k.SpecSchema(), tree{}
	if err := w.inner(fields, s, specType(k)); err != nil {
		return err
	}
	flat, _ := fields["properties"].(tree)
	for name, p := range flat {
		if props[name] != nil {
			return fmt.Errorf("the field %q of the spec hides that of all objects", name)
		}
		props[name] = p
	}
	return nil
}

func ref(section, name string) tree { return tree{"$ref": "#/components/" + section + "/" + name} }

func content(schema string) tree {
	return tree{"application/json": tree{"schema": ref("schemas", schema)}}
}

func response(description, schema string) tree {
	return tree{"description": description, "content": content(schema)}
}

func ok(schema, description string) tree { return tree{"200": response(description, schema)} }

func errorSchemas() tree {
	text := func(description string) tree { return tree{"type": "string", "description": description} }
	parameter := func(message string) tree {
		return tree{"type": "array", "items": tree{"type": "object", "required": []string{"field", message}, "properties": tree{
			"field": text("Path of the field, such as spec.ports[0].port."),
			message: text("What is wrong with it and what to do."),
		}}}
	}
	return tree{
		"Error": tree{
			"type":        "object",
			"description": "Why a request failed.",
			"required":    []string{"type", "status", "title", "detail"},
			"properties": tree{
				"type":               text("Always /std-errors."),
				"status":             tree{"type": "integer", "description": "Status code of the answer."},
				"title":              text("What failed."),
				"detail":             text("Why it failed."),
				"instance":           text("Id of the trace of the request, if it was traced."),
				"invalid_parameters": parameter("reason"),
				"details":            text("The same as detail, for old clients."),
				"causes":             parameter("message"),
			},
		},
		"Written": tree{
			"type": "object", "description": "The object was written.",
			"properties": tree{"warnings": tree{"type": "array", "description": "What was accepted but likely not meant.", "items": tree{"type": "string"}}},
		},
		"Deleted": tree{"type": "object", "description": "The object was deleted."},
	}
}

func parameters() tree {
	query := func(name, description string, schema tree) tree {
		return tree{"name": name, "in": "query", "description": description, "schema": schema}
	}
	path := func(name, description string) tree {
		return tree{"name": name, "in": "path", "required": true, "description": description, "schema": tree{"type": "string"}}
	}
	text := tree{"type": "string"}
	labels := query("filter", "Labels that an object must have: filter[labels.KEY]=VALUE. May be given for several keys.",
		tree{"type": "object", "additionalProperties": tree{"type": "string"}})
	labels["style"], labels["explode"] = "deepObject", true
	tags := query("tag", "KEY:VALUE: a tag whose value contains VALUE. May be given several times.",
		tree{"type": "array", "items": tree{"type": "string"}})
	tags["explode"] = true
	return tree{
		"mesh":        path("mesh", "Mesh of the object."),
		"name":        path("name", "Name of the object."),
		"size":        query("size", "Number of objects on a page; 0 = all.", tree{"type": "integer", "default": 100, "minimum": 0, "maximum": 1000}),
		"offset":      query("offset", "Where the page begins, as told by next of the page before.", text),
		"nameFilter":  query("name", "Part of the name that an object must have.", text),
		"labelFilter": labels,
		"tag":         tags,
		"gateway":     query("gateway", "Kind of gateway that a Dataplane must be, or that it must be none.", tree{"type": "string", "enum": []string{"true", "false", "builtin", "delegated"}}),
		"format":      query("format", "Form of the answer: as stored, or as a Kubernetes manifest.", tree{"type": "string", "enum": []string{"universal", "k8s", "kubernetes"}, "default": "universal"}),
		"namespace":   query("namespace", "Namespace in a Kubernetes manifest; the system namespace by default.", text),
	}
}

func responses() tree {
	out := tree{}
	for status, description := range map[string]string{
		"400": "The request or the object is not valid.",
		"401": "The credentials are not valid.",
		"403": "The user may not do this.",
		"404": "There is no such object or mesh.",
		"405": "Objects of this kind cannot be written here.",
		"409": "Somebody else wrote the object at the same time.",
		"500": "The control plane failed.",
	} {
		out["Error"+status] = response(description, "Error")
	}
	for status, description := range map[string]string{
		"406": "The client does not accept JSON.",
		"415": "The body is not said to be JSON.",
	} {
		out["Error"+status] = tree{"description": description, "content": tree{"text/plain": tree{"schema": tree{"type": "string"}}}}
	}
	return out
}
