mod older_forms;
mod real;
mod refusals;
mod windows;
