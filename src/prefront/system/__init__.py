"""What everything stands on: files, tables of rows, checks of settings, the process and its compiler."""
