package policy

// Routes tells whether a policy that decides where traffic goes selects the
// proxy, so that it may send to any destination of the mesh.
func (m *Matched) Routes() bool {
	for _, mt := range m.list {
		if mt.policy.hooks.shape != nil && len(mt.sel) > 0 {
			return true
		}
	}
	return false
}
