"""What the methods are for: answers with sources, summaries, code, reports, shorter texts, talk."""

from longctx_edu.lazy import lazily

_HOME = {
    "CodeAnswer": "code_reading",
    "CodePlace": "code_reading",
    "Compressed": "compression",
    "ContextCompressor": "compression",
    "Definition": "code_reading",
    "DocumentAnalysis": "document_analysis",
    "DocumentChat": "chat",
    "FutureWiMModel": "compressed_margins",
    "GeneratedClass": "code_writing",
    "Limits": "code_running",
    "MarginOptimizer": "margin_tuning",
    "MarginSettings": "margin_tuning",
    "Matter": "minutes",
    "MethodAnswers": "method_report",
    "MethodsReport": "method_report",
    "Minutes": "minutes",
    "Point": "summaries",
    "Ran": "code_running",
    "Section": "document_analysis",
    "SectionNote": "document_analysis",
    "SourcedAnswer": "long_documents",
    "Summary": "summaries",
    "Trial": "margin_tuning",
    "Turn": "chat",
    "WiMDocumentAnalyzer": "document_analysis",
    "analyze_code": "code_reading",
    "answers_by_method": "method_report",
    "code_place": "code_reading",
    "definitions": "code_reading",
    "generate_minutes": "minutes",
    "generate_python_class": "code_writing",
    "long_form_qa": "long_documents",
    "process_long_document": "long_documents",
    "run_python": "code_running",
    "source_files": "code_reading",
    "summarize_document": "summaries",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazily(__name__, _HOME)
