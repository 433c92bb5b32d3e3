"""MambaVoiceCloning (2604.00292): text and a voice to acoustic frames by state-space layers, without tokens."""
