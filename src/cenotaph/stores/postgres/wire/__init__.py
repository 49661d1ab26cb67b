"""What travels between the server and this process, and the Arrow arrays it becomes."""
