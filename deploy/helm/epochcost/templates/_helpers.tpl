{{- define "epochcost.name" -}}
{{- if contains "epochcost" .Release.Name -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{- else -}}{{ printf "%s-epochcost" .Release.Name | trunc 50 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- define "epochcost.labels" -}}
app.kubernetes.io/name: epochcost
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* (list root component) */}}
{{- define "epochcost.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: epochcost
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "epochcost.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Settings by flag as environment: gpus.source -> EPOCHCOST_GPUS_SOURCE */}}
{{- define "epochcost.settings" -}}
{{- range $flag, $value := . }}
- name: EPOCHCOST_{{ $flag | upper | replace "." "_" | replace "-" "_" }}
  value: {{ $value | toString | quote }}
{{- end -}}
{{- end -}}

{{- define "epochcost.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "epochcost.annotations" -}}
{{- $root := index . 0 -}}
{{- if eq $root.Values.monitoring.scrape "annotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ index . 1 | quote }}
prometheus.io/path: /metrics
{{- end -}}
{{- end -}}

{{- define "epochcost.pricesUrl" -}}
{{- if .Values.prices.enabled -}}
http://{{ include "epochcost.name" . }}-prices.{{ .Release.Namespace }}.svc:10836
{{- else -}}
{{ .Values.prices.externalUrl }}
{{- end -}}
{{- end -}}

{{/* Relabeling of every monitor: the cluster's name, and no target label that hides one of ours. */}}
{{- define "epochcost.relabelings" -}}
{{- if .Values.cluster }}
relabelings:
  - {targetLabel: cluster, replacement: {{ .Values.cluster | quote }}}
{{- end }}
{{- end -}}
