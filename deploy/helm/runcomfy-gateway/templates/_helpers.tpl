{{- define "gateway.name" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- end -}}

{{- /* What selectors match: it never changes. `app.kubernetes.io/name` is the name of the Prometheus job. */ -}}
{{- define "gateway.selector" -}}
app.kubernetes.io/name: gateway-{{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- define "gateway.labels" -}}
{{ include "gateway.selector" . }}
app.kubernetes.io/part-of: runcomfy-gateway
{{- end -}}

{{- define "gateway.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "gateway.hasJournalVolume" -}}
{{- if not .Values.journal.url }}true{{ end -}}
{{- end -}}

{{- define "gateway.hasObjectsVolume" -}}
{{- if and .Values.objects.volume.enabled (not .Values.objects.url) }}true{{ end -}}
{{- end -}}

{{- define "gateway.journalClaim" -}}
{{- default (printf "%s-journal" (include "gateway.name" .)) .Values.journal.volume.existingClaim -}}
{{- end -}}

{{- define "gateway.objectsClaim" -}}
{{- default (printf "%s-objects" (include "gateway.name" .)) .Values.objects.volume.existingClaim -}}
{{- end -}}

{{- /* The headers in which an authenticating proxy names a person to the console, as a list. */ -}}
{{- define "gateway.identityHeaders" -}}
{{- $person := default "X-Forwarded-User" .Values.settings.GATEWAY_CONSOLE__IDENTITY_HEADER -}}
{{- $groups := default "X-Forwarded-Groups" .Values.settings.GATEWAY_CONSOLE__GROUPS_HEADER -}}
{{- uniq (list $person $groups) | toYaml -}}
{{- end -}}

{{- /* Who must remove these headers where the chart cannot; empty if nobody has to. */ -}}
{{- define "gateway.identityWarning" -}}
{{- $headers := include "gateway.identityHeaders" . | fromYamlArray | join " and " -}}
{{- if .Values.settings.GATEWAY_CONSOLE__IDENTITY_HEADER -}}
{{- if .Values.ingress.enabled -}}
The Ingress passes on {{ $headers }}: its controller must replace or remove what callers send, or callers name themselves to the console.
{{- else if and .Values.gatewayApi.enabled .Values.gatewayApi.keepIdentityHeaders -}}
The HTTPRoute passes on {{ $headers }}: the Gateway must replace what callers send, or callers name themselves to the console.
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What the "restricted" Pod Security Standard asks of a container. */ -}}
{{- define "gateway.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* The metadata of a pod of the component. */ -}}
{{- define "gateway.podMetadata" -}}
{{- $pods := index .root.Values .component -}}
labels:
  {{- include "gateway.labels" . | nindent 2 }}
  {{- with $pods.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  # Helm replaces the pods when a setting changes; with kustomize, restart them.
  checksum/settings: {{ include (print .root.Template.BasePath "/settings.yaml") .root | sha256sum | trunc 16 | quote }}
  {{- if .root.Values.monitoring.scrapeAnnotations }}
  prometheus.io/scrape: "true"
  prometheus.io/port: {{ .metricsPort | quote }}
  {{- end }}
  {{- with $pods.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* Where pods of the component may run, and as whom. */ -}}
{{- define "gateway.podScheduling" -}}
{{- $pods := index .root.Values .component -}}
automountServiceAccountToken: false
# With service links, a Service named "gateway" would set GATEWAY_PORT to a URL.
enableServiceLinks: false
{{- with $pods.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pods.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
terminationGracePeriodSeconds: {{ $pods.terminationGracePeriodSeconds }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  # A volume with many files is not searched at each start.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "gateway.selector" . | nindent 8 }}
{{- with $pods.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pods.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pods.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* A claim of `claim`, a value with accessModes, storageClassName and size. */ -}}
{{- define "gateway.claimSpec" -}}
accessModes:
  {{- toYaml .accessModes | nindent 2 }}
{{- with .storageClassName }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests: {storage: {{ .size }}}
{{- end -}}

{{- define "gateway.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "gateway.name" .root }}-{{ .component }}
  labels:
    {{- include "gateway.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ (index .root.Values .component).maxUnavailable }}
  selector:
    matchLabels:
      {{- include "gateway.selector" . | nindent 6 }}
{{- end -}}
