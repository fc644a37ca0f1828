mod older_forms;
mod refusals;
mod windows;
