"""What programs ask past Gradio: OpenAI's chat completions and MCP tools, through the same door, line and limits."""
