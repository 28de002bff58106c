"""What an operator needs beside the demo: the folder of a Hugging Face Space, and what watches a container."""
