{{- define "millrace.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "millrace.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "millrace.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "millrace.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "millrace.selector" -}}
app.kubernetes.io/name: {{ include "millrace.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: worker
{{- end }}

{{/* Without the component: the workers add it, and the jobs have one of their own. */}}
{{- define "millrace.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "millrace.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "millrace.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "millrace.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "millrace.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "millrace.config" -}}
{{- .Values.config | default (.Files.Get "files/millrace.toml") }}
{{- end }}

{{- define "millrace.configMap" -}}
{{- .Values.existingConfigMap | default (include "millrace.fullname" .) }}
{{- end }}

{{/* Where services and secrets are. Secrets are files, but for the user's name. Takes the context and the Secret of Postgres' URL. */}}
{{- define "millrace.env" -}}
{{- $values := .context.Values -}}
- name: MILLRACE_POSTGRES__URL_FILE
  value: /etc/millrace/secrets/postgres/{{ .urlSecret.key }}
{{- with $values.kafka.brokers }}
- name: MILLRACE_KAFKA__BROKERS
  value: {{ . | quote }}
{{- end }}
{{- with $values.kafka.security }}
- name: MILLRACE_KAFKA__SECURITY
  value: {{ . }}
{{- end }}
{{- with $values.kafka.saslMechanism }}
- name: MILLRACE_KAFKA__SASL_MECHANISM
  value: {{ . }}
{{- end }}
{{- with $values.kafka.saslSecret }}
{{- if .name }}
- name: MILLRACE_KAFKA__USERNAME
  valueFrom:
    secretKeyRef: {name: {{ .name }}, key: {{ .usernameKey }}}
- name: MILLRACE_KAFKA__PASSWORD_FILE
  value: /etc/millrace/secrets/kafka-sasl/{{ .passwordKey }}
{{- end }}
{{- end }}
{{- with $values.kafka.caSecret }}
{{- if .name }}
- name: MILLRACE_KAFKA__CA_FILE
  value: /etc/millrace/secrets/kafka-ca/{{ .key }}
{{- end }}
{{- end }}
{{- with $values.kafka.clientSecret }}
{{- if .name }}
- name: MILLRACE_KAFKA__CERT_FILE
  value: /etc/millrace/secrets/kafka-client/{{ .certKey }}
- name: MILLRACE_KAFKA__KEY_FILE
  value: /etc/millrace/secrets/kafka-client/{{ .keyKey }}
{{- end }}
{{- end }}
{{- with $values.schemaRegistry.url }}
- name: MILLRACE_SCHEMA_REGISTRY__URL
  value: {{ . | quote }}
{{- end }}
{{- with $values.schemaRegistry.secret }}
{{- if .name }}
- name: MILLRACE_SCHEMA_REGISTRY__USERNAME
  valueFrom:
    secretKeyRef: {name: {{ .name }}, key: {{ .usernameKey }}}
- name: MILLRACE_SCHEMA_REGISTRY__PASSWORD_FILE
  value: /etc/millrace/secrets/schema-registry/{{ .passwordKey }}
{{- end }}
{{- end }}
{{- with $values.schemaRegistry.caSecret }}
{{- if .name }}
- name: MILLRACE_SCHEMA_REGISTRY__CA_FILE
  value: /etc/millrace/secrets/schema-registry-ca/{{ .key }}
{{- end }}
{{- end }}
{{- end }}

{{/* Brokers as the config names them; empty where it does not, or where the chart does not see it. */}}
{{- define "millrace.configBrokers" -}}
{{- regexFind "(?m)^[^#\\n]*\\bbrokers[ \\t]*=[ \\t]*[\"'][^\"'\\n]+" .Values.config | regexFind "[^\"']+$" | replace " " "" -}}
{{- end }}

{{/* The value's brokers, else those that the config names. */}}
{{- define "millrace.brokers" -}}
{{- .Values.kafka.brokers | default (include "millrace.configBrokers" .) -}}
{{- end }}

{{/* URLs of the schema registry, separated by commas: the value's, else what the config says. */}}
{{- define "millrace.registry" -}}
{{- $section := regexFind "(?m)^[ \\t]*\\[schema_registry\\][^\\[]*" .Values.config -}}
{{- .Values.schemaRegistry.url | default (regexFind "(?m)^[ \\t]*url[ \\t]*=[ \\t]*[\"'][^\"']+" $section | regexFind "http.*$") -}}
{{- end }}

{{- define "millrace.mounts" -}}
- name: config
  mountPath: /etc/millrace/millrace.toml
  subPath: millrace.toml
  readOnly: true
- name: tmp
  mountPath: /tmp
- name: postgres
  mountPath: /etc/millrace/secrets/postgres
  readOnly: true
{{- if .Values.postgres.caSecret.name }}
- name: postgres-ca
  mountPath: /etc/millrace/secrets/postgres-ca
  readOnly: true
{{- end }}
{{- if .Values.kafka.saslSecret.name }}
- name: kafka-sasl
  mountPath: /etc/millrace/secrets/kafka-sasl
  readOnly: true
{{- end }}
{{- if .Values.kafka.caSecret.name }}
- name: kafka-ca
  mountPath: /etc/millrace/secrets/kafka-ca
  readOnly: true
{{- end }}
{{- if .Values.kafka.clientSecret.name }}
- name: kafka-client
  mountPath: /etc/millrace/secrets/kafka-client
  readOnly: true
{{- end }}
{{- if .Values.schemaRegistry.secret.name }}
- name: schema-registry
  mountPath: /etc/millrace/secrets/schema-registry
  readOnly: true
{{- end }}
{{- if .Values.schemaRegistry.caSecret.name }}
- name: schema-registry-ca
  mountPath: /etc/millrace/secrets/schema-registry-ca
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Takes the context, the Secret of Postgres' URL, and the name of the ConfigMap. */}}
{{- define "millrace.volumes" -}}
{{- $values := .context.Values -}}
- name: config
  configMap:
    name: {{ .configMap }}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
- name: postgres
  secret:
    secretName: {{ .urlSecret.name }}
    defaultMode: 0440
    items: [{key: {{ .urlSecret.key }}, path: {{ .urlSecret.key }}}]
{{- range $volume, $secret := dict "postgres-ca" $values.postgres.caSecret "kafka-sasl" $values.kafka.saslSecret "kafka-ca" $values.kafka.caSecret "kafka-client" $values.kafka.clientSecret "schema-registry" $values.schemaRegistry.secret "schema-registry-ca" $values.schemaRegistry.caSecret }}
{{- if $secret.name }}
- name: {{ $volume }}
  secret:
    secretName: {{ $secret.name }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What all pods have in common. */}}
{{- define "millrace.podSpec" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
{{ toYaml .Values.podSecurityContext | indent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
{{ toYaml . | indent 2 }}
{{- end }}
{{- end }}

{{- define "millrace.migrateSecret" -}}
{{- if .Values.migrate.urlSecret.name }}
{{- toYaml .Values.migrate.urlSecret }}
{{- else }}
{{- toYaml .Values.postgres.urlSecret }}
{{- end }}
{{- end }}

{{/* The token that pausing, resuming and swapping versions ask for: the workers' alone, not that of the jobs. A folder, so that a changed Secret arrives. */}}
{{- define "millrace.tokenEnv" -}}
{{- with .Values.admin.tokenSecret }}
{{- if .name }}
- name: MILLRACE_ADMIN__TOKEN_FILE
  value: /etc/millrace/secrets/admin-token/{{ .key }}
{{- end }}
{{- end }}
{{- end }}

{{- define "millrace.tokenMount" -}}
{{- if .Values.admin.tokenSecret.name }}
- name: admin-token
  mountPath: /etc/millrace/secrets/admin-token
  readOnly: true
{{- end }}
{{- end }}

{{- define "millrace.tokenVolume" -}}
{{- with .Values.admin.tokenSecret }}
{{- if .name }}
- name: admin-token
  secret:
    secretName: {{ .name }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end }}

{{/* For who loads models. The migration does not: a claim that one node alone may mount would hold up the upgrade. */}}
{{- define "millrace.modelsMount" -}}
{{- if .Values.models.volume }}
- name: models
  mountPath: {{ .Values.models.mountPath }}
  readOnly: true
{{- end }}
{{- end }}

{{- define "millrace.modelsVolume" -}}
{{- with .Values.models.volume }}
- name: models
{{ toYaml . | indent 2 }}
{{- end }}
{{- end }}
