// Package identity gives the proxies of meshes with mutual TLS what they prove
// themselves with: leaf certificates, and the roots to check those of others.
//
// An Authority signs for one backend of a Mesh; a Service loads authorities,
// decides who signs and who is trusted (Plan), issues and renews certificates,
// and tells the engine when a proxy's secrets changed. Two tasks belong to the
// leader: Keeper makes the keys of builtin backends, Switcher takes a mesh from
// one authority to the next so that no request fails on the way (MeshTrust).
//
//	Mesh, Secrets, MeshTrust ─► Follow ─► load authorities ─► Plan
//	                                                           │
//	engine ─ Join ─► Member ─ Secrets(need) ─► wants ─► issue ─┴► SDS secrets
//	   ▲                                                  │
//	   └───────────────── changed ◄───────────────────────┘
//
// What proxies ask for is answered from memory; nothing waits for an authority
// but the issuing workers. All methods are safe for concurrent use.
package identity
