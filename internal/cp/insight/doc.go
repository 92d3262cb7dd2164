// Package insight writes down what is known about those who connect: which
// proxies are there and what they accepted. Streams report to a Recorder; tasks
// of the leader find connections whose control plane died, and proxies that are
// gone for good.
package insight
