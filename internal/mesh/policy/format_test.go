package policy

import "testing"

func TestFillable(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, "plain": true, "%%": true, "50%% off": true, "%PROTOCOL%": true, "%REQ(x?y):10% and %REQ(z)%": true,
		"%START_TIME(%Y-%m-%dT%H)%": true, "%DYNAMIC_METADATA(a:b)%": true,
		"100%": false, "%": false, "a % b": false, "%req(x)%": false, "%REQ(x)": false, "% REQ(x)%": false,
		"%PROTOCOL%x%": false, "%REQ(x):a%": false, "%KUMA_MESH%": false, "%%%": false,
	} {
		if got := Fillable(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
