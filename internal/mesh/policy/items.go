package policy

// FullItem is an Item of a kind whose schema demands a default.
type FullItem[C any] struct {
	// TargetRef selects destinations (to) or clients (from).
	TargetRef TargetRef `json:"targetRef" schema:"required"`
	// Default is what holds for what was selected.
	Default C `json:"default" schema:"required"`
}

// FullRule is a Rule of a kind whose schema demands a default.
type FullRule[C any] struct {
	// Default is what holds for traffic that enters the selected proxies.
	Default C `json:"default" schema:"required"`
}

// Items returns the items in the form that Parts wants.
func Items[C any](full []FullItem[C]) []Item[C] {
	out := make([]Item[C], len(full))
	for i := range full {
		out[i] = Item[C](full[i])
	}
	return out
}

// Rules returns the rules in the form that Parts wants.
func Rules[C any](full []FullRule[C]) []Rule[C] {
	out := make([]Rule[C], len(full))
	for i := range full {
		out[i] = Rule[C](full[i])
	}
	return out
}
