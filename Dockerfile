# The demo on the embedded model: docker build -t vscan . && docker run -p 7860:7860 vscan
FROM python:3.11-slim
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt && useradd --create-home --uid 1000 user
COPY app app
COPY vscan_core vscan_core
COPY vscan_eval vscan_eval
COPY assets assets
USER user
ENV PYTHONUNBUFFERED=1 GRADIO_ANALYTICS_ENABLED=False
EXPOSE 7860
CMD ["python", "-m", "app", "--host", "0.0.0.0", "--port", "7860"]
