{{/*
The labels of an object. Takes (dict "root" $ "name" "probot"); without a name for what belongs to all. None of them names
Helm, for the files of deploy/kubernetes are rendered from this and applied without it.
*/}}
{{- define "parmanu.labels" -}}
{{ include "parmanu.selector" . }}
app.kubernetes.io/part-of: parmanu
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- end }}

{{/* What a selector asks for: it must never change, or an upgrade is refused. */}}
{{- define "parmanu.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .name }}
app.kubernetes.io/name: {{ . }}
{{- end }}
{{- end }}

{{- define "parmanu.name" -}}
{{ printf "%s-%s" .root.Release.Name .name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "parmanu.configMap" -}}
{{ .Values.config.existingConfigMap | default (printf "%s-config" .Release.Name) }}
{{- end }}

{{- define "parmanu.serviceAccount" -}}
{{- $of := index .root.Values .name -}}
{{ $of.serviceAccount.name | default (include "parmanu.name" .) }}
{{- end }}

{{- define "parmanu.image" -}}
{{- $of := index .root.Values .name -}}
{{- $images := .root.Values.images -}}
{{- with $images.registry }}{{ . }}/{{ end -}}
{{- $of.repository -}}
{{- if $of.digest }}@{{ $of.digest }}{{ else }}:{{ $images.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* Of any pod of this chart. */}}
{{- define "parmanu.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/*
One service: what it runs as, where it runs, how it is asked for. Both are the same but for names, ports and secrets, so
they are written once. Takes (dict "root" $ "name" "probot" "port" 9641).
*/}}
{{- define "parmanu.service" -}}
{{- $of := index .root.Values .name -}}
{{- $labels := include "parmanu.labels" . -}}
{{- $selector := include "parmanu.selector" . -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "parmanu.serviceAccount" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- $labels | nindent 4 }}
  {{- with $of.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
# It asks the API server nothing: no role is bound to it, and its pods get no token.
automountServiceAccountToken: false
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "parmanu.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- $labels | nindent 4 }}
spec:
  replicas: {{ $of.replicas }}
  revisionHistoryLimit: 3
  selector:
    matchLabels:
      {{- $selector | nindent 6 }}
  strategy: { type: RollingUpdate, rollingUpdate: { maxUnavailable: 1, maxSurge: 1 } }
  template:
    metadata:
      labels:
        {{- $labels | nindent 8 }}
        {{- with $of.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if or $of.podAnnotations (and .root.Values.config.restartOnChange (not .root.Values.config.existingConfigMap)) }}
      annotations:
        {{- with $of.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- if .root.Values.config.restartOnChange }}
        checksum/config: {{ .root.Values.config.files | toJson | sha256sum }}
        {{- end }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "parmanu.serviceAccount" . }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 20 # a stopping scaler waits 5 s for what is in flight
      {{- with .root.Values.images.pullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $of.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        fsGroup: 65532
        seccompProfile: { type: RuntimeDefault }
      topologySpreadConstraints:
        {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- $selector | nindent 14 }}
        {{- end }}
      {{- with $of.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $of.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $of.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .name }}
          image: {{ include "parmanu.image" . }}
          imagePullPolicy: {{ .root.Values.images.pullPolicy }}
          env:
            - { name: PARMANU_CONFIG, value: /etc/parmanu/config/parmanu.yaml }
            - { name: PARMANU_LISTEN, value: "0.0.0.0:{{ .port }}" }
            {{- with $of.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          ports:
            - { name: http, containerPort: {{ .port }} }
          # A minute to start: it answers before it has reached anybody.
          startupProbe:
            httpGet: { path: /healthz, port: http }
            periodSeconds: 2
            timeoutSeconds: 3
            failureThreshold: 30
          # Alive is who answers at all. A CI server or a cloud that is away makes it unready and never restarts it.
          livenessProbe:
            httpGet: { path: /healthz, port: http }
            periodSeconds: 10
            timeoutSeconds: 3
            failureThreshold: 6
          readinessProbe:
            httpGet: { path: /readyz, port: http }
            periodSeconds: 5
            timeoutSeconds: 3
          resources:
            {{- toYaml $of.resources | nindent 12 }}
          securityContext:
            {{- include "parmanu.containerSecurity" . | nindent 12 }}
          volumeMounts:
            # whole folders: a file that is mounted alone never changes
            - { name: config, mountPath: /etc/parmanu/config, readOnly: true }
            - { name: secrets, mountPath: /etc/parmanu/secrets, readOnly: true }
            {{- with $of.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - name: config
          configMap: { name: {{ include "parmanu.configMap" .root }} }
        - name: secrets
          secret:
            secretName: {{ $of.existingSecret }}
            defaultMode: 0440
            items:
              {{- range $of.secretKeys }}
              - { key: {{ . }}, path: {{ . }} }
              {{- end }}
        {{- with $of.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
---
# For metrics (/metrics), the JSON API of the scaler and hooks (POST /hooks/<emitter>, probot).
apiVersion: v1
kind: Service
metadata:
  name: {{ include "parmanu.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- $labels | nindent 4 }}
spec:
  selector:
    {{- $selector | nindent 4 }}
  ports:
    - { name: http, port: {{ .port }}, targetPort: http }
{{- if .root.Values.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "parmanu.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- $labels | nindent 4 }}
spec:
  maxUnavailable: {{ .root.Values.podDisruptionBudget.maxUnavailable }}
  # a pod that is unready because a CI server or a cloud is away must not block the draining of its node
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- $selector | nindent 6 }}
{{- end }}
{{- end }}
