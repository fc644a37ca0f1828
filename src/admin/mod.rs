//! HTTP: health, metrics, status, the function API.
