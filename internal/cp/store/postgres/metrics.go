package postgres

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// Collector returns the metrics of the store's connection pools.
func (s *Store) Collector() prometheus.Collector {
	pools := map[string]*pgxpool.Pool{"rw": s.pool}
	if s.replica != nil {
		pools["ro"] = s.replica
	}
	const prefix = "store_postgres_connection"
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prefix+name, help, append([]string{"pool"}, labels...), nil)
	}
	return &collector{
		pools:    pools,
		count:    desc("s", "Connections by state.", "type"),
		limit:    desc("s_max", "Connections that may be open."),
		waits:    desc("_wait_count", "How often a connection had to be waited for."),
		waited:   desc("_wait_duration", "Time spent waiting for a connection, in seconds."),
		closed:   desc("_closed", "Connections closed, by reason.", "type"),
		acquired: desc("_acquire", "Connections taken from the pool, by result.", "type"),
	}
}

type collector struct {
	pools                                         map[string]*pgxpool.Pool
	count, limit, waits, waited, closed, acquired *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.count, c.limit, c.waits, c.waited, c.closed, c.acquired} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for name, pool := range c.pools {
		st := pool.Stat()
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{name}, labels...)...)
		}
		gauge(c.count, float64(st.TotalConns()), "open_connections")
		gauge(c.count, float64(st.AcquiredConns()), "in_use")
		gauge(c.count, float64(st.IdleConns()), "idle")
		gauge(c.count, float64(st.ConstructingConns()), "constructing")
		gauge(c.count, float64(st.NewConnsCount()), "new")
		gauge(c.limit, float64(st.MaxConns()))
		gauge(c.waits, float64(st.EmptyAcquireCount()))
		gauge(c.waited, st.EmptyAcquireWaitTime().Seconds())
		gauge(c.closed, float64(st.MaxIdleDestroyCount()), "max_idle_conns")
		gauge(c.closed, float64(st.MaxLifetimeDestroyCount()), "conn_max_life_time")
		gauge(c.acquired, float64(st.AcquireCount()), "successful")
		gauge(c.acquired, float64(st.CanceledAcquireCount()), "canceled")
	}
}
